#!/usr/bin/env bash
# Prepare a corpus, train, and start training again whenever it was stopped, until it is done.
#
#   scripts/train_until_done.sh MIDI_DIR RUN_DIR [preset] [any flag of train.py]
#
# On several hosts, start it on each of them. Exit codes are train.py's; what fails three times
# within a minute of its start is not tried again. PYTHON chooses the interpreter.
set -u
if [ $# -lt 2 ] || [[ $2 == -* ]]; then
    echo "Usage: $0 MIDI_DIR RUN_DIR [preset] [flags of train.py]" >&2
    exit 2
fi
# The full path: it is no flag, and names the corpus, whatever was given (`.`, `..`, `songs/`). Two
# folders of one name have two corpora, by the checksum of the path.
if ! midi_dir=$(CDPATH='' cd -- "$1" && pwd -P); then
    printf "Error: The folder %q can't be entered: give a folder of MIDI files.\n" "$1" >&2
    exit 1
fi
run_dir=$2
shift 2
scripts=$(dirname -- "$0")
python=${PYTHON:-python}

# The corpus has the scheme that is trained on: that of the preset, or of these flags of train.py.
scheme=()
case ${1-} in modern) scheme=(--scheme timed) ;; esac
options=()
for ((i = 1; i <= $#; i++)); do
    next=$((i + 1))
    case ${!i} in
        --scheme) scheme=(--scheme "${!next-}") ;;
        --scheme=*) scheme=(--scheme "${!i#*=}") ;;
        --grid) options+=(--grid "${!next-}") ;;
        --grid=* | --loudness) options+=("${!i}") ;;
    esac
done
name=$(printf %s ${scheme[@]+"${scheme[@]}"} ${options[@]+"${options[@]}"} | tr -c 'a-z0-9' -)
corpus=corpora/$(basename -- "$midi_dir" | tr / _)-$(printf %s "$midi_dir" | cksum | cut -d ' ' -f 1)$name

# Asked to stop: let the training save, and don't start it again.
child= stopping=
stop() {
    stopping=yes
    [ -n "$child" ] && kill -TERM "$child" 2>/dev/null
}
trap stop TERM INT
trap '' PIPE # when nobody reads its lines any more it goes on

# A shell runs its trap only once a foreground program has ended: so each runs beside it.
run() {
    "$@" &
    child=$!
    wait "$child"
    code=$?
    while [ -n "$stopping" ] && kill -0 "$child" 2>/dev/null; do
        wait "$child" # a signal ended the wait above, not the program
        code=$?
    done
    child=
}

run "$python" "$scripts/prepare.py" "$midi_dir" --corpus "$corpus" \
    ${scheme[@]+"${scheme[@]}"} ${options[@]+"${options[@]}"}
[ "$code" -eq 0 ] || exit "$code"

failures=0
while true; do
    started=$SECONDS
    run "$python" "$scripts/train.py" "$@" --corpus "$corpus" --run-dir "$run_dir"
    case $code in
        0 | 2 | 130) exit "$code" ;; # done; wrong usage; Ctrl-C
    esac
    [ -z "$stopping" ] || exit "$code"
    if [ $((SECONDS - started)) -lt 60 ]; then
        failures=$((failures + 1))
        [ $failures -lt 3 ] || exit "$code"
    else
        failures=0
    fi
    echo "Training ended with exit code $code; starting it again."
    sleep 5
done
