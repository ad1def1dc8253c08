"""Write the MIDI files of midi_songs/ from its sources and from the composing program's seeds."""

import argparse
from pathlib import Path

from songwriting.catalogue import SOURCES, pieces
from songwriting.score import save


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=SOURCES.parent,
                        help="the folder to write to (default: midi_songs/ itself)")
    out: Path = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    print(f"{'piece':42s} {'key':4s} {'metre':>5s} {'bars':>5s} {'notes':>6s}")
    count = notes = 0
    for name, score in pieces():
        save(score, out / f"{name}.mid")
        beats, unit = score.meter
        print(f"{name:42s} {score.key:4s} {f'{beats}/{unit}':>5s} {score.bars:5d} "
              f"{score.notes:6d}")
        count += 1
        notes += score.notes
    print(f"{count} pieces, {notes} notes, in {out}")


if __name__ == "__main__":
    main()
