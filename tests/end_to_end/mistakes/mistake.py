"""A mistake of a user's, and what the lists of them share."""

from typing import NamedTuple

import helpers.arrangements as a


class Mistake(NamedTuple):
    """A wrong command of a user, and the error that it must give."""

    command: str
    code: int  # 2: wrong usage; 1: it failed; 0: a line, and it goes on
    words: str  # each of these words occurs in the output
    arranged: a.Arrange = a.nothing


NET = "--window 8 --hidden-size 8 --layers 1 --dense-size 8 --batch-size 8 --max-steps 1"
GO_ON = f"train.py --corpus songs-corpus {NET} --run-dir songs-run"
ANEW = f"train.py --corpus songs-corpus {NET} --run-dir new"
SHOW, CHECK = "prepare.py --show songs-corpus", "prepare.py --check songs-corpus"
AGAIN = "prepare.py songs --corpus songs-corpus"
GENERATE = "generate.py songs-run"
EVALUATE = "evaluate.py songs-run --count 1"
ABOUT, CONFIG = "songs-corpus/corpus.json", "songs-run/config.json"
