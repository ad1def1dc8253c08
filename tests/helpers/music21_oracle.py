"""The token stream by music21 5.7.2 itself: a program that answers for one file after another.

Run with music21 on the path. Each line of its input is JSON: the path of a MIDI file, {"notes": the
path}, or a list of sets of pitch classes. Each line of its output is JSON too: {"tokens": [...]} or
{"error": "..."} for a file, {"notes": [...]}, {"chords": [...]} for sets, and at first {"ready":
true}.
"""

import json
import os
import sys
from typing import Any

from music21 import chord, converter, instrument, note


def main() -> None:
    # music21 prints warnings: they must not get among the answers.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    answers.write(json.dumps({"ready": True}) + "\n")
    answers.flush()
    for line in sys.stdin:
        answers.write(json.dumps(answer(json.loads(line))) + "\n")
        answers.flush()


def answer(question: Any) -> dict[str, Any]:
    if isinstance(question, list):
        return {"chords": [chord_token(classes) for classes in question]}
    if isinstance(question, dict):
        return {"notes": file_notes(question["notes"])}
    try:
        return {"tokens": file_tokens(question)}
    except Exception as error:  # whatever it is, the file has no tokens
        return {"error": f"{type(error).__name__}: {error}"}


def file_tokens(path: str) -> list[str]:
    """What the published notebook does with each file."""
    score = converter.parse(path, forceSource=True)
    parts = instrument.partitionByInstrument(score)
    elements = parts.parts[0].recurse() if parts else score.flat.notes
    tokens = []
    for element in elements:
        if isinstance(element, note.Note):
            tokens.append(str(element.pitch))
        elif isinstance(element, chord.Chord):
            tokens.append(".".join(map(str, element.normalOrder)))
    return tokens


def file_notes(path: str) -> list[tuple[int, int, int, int]]:
    """All notes (start, end, pitch, velocity) in 480ths of a quarter, not quantized."""
    score = converter.parse(path, forceSource=True, quantizePost=False)
    found = []
    for element in score.recurse().notes:
        members = element if isinstance(element, chord.Chord) else [element]
        start = element.getOffsetInHierarchy(score)
        end = start + element.duration.quarterLength
        found += [
            (round(480 * start), round(480 * end), each.pitch.midi, each.volume.velocity)
            for each in members
        ]
    return sorted(found)


def chord_token(classes: list[int]) -> str:
    return ".".join(map(str, chord.Chord(classes).normalOrder))


if __name__ == "__main__":
    main()
