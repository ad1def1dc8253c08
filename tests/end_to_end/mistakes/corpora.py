"""Corpora that are damaged, half there, or of something else."""

import helpers.arrangements as a
from end_to_end.mistakes.mistake import ABOUT, AGAIN, ANEW, CHECK, SHOW, Mistake

CORPORA = [
    Mistake(SHOW, 1, "corpus songs-corpus damaged corpus.json missing", a.removed(ABOUT)),
    Mistake(
        SHOW, 1, "corpus songs-corpus damaged tokens.npy missing",
        a.removed("songs-corpus/tokens.npy"),
    ),
    Mistake(SHOW, 1, "corpus songs-corpus newer format 2 1", a.fields(ABOUT, format=2)),
    Mistake(SHOW, 1, "corpus songs-corpus older format 0 1", a.fields(ABOUT, format=0)),
    Mistake(
        SHOW, 1, "corpus songs-corpus damaged corpus.json field token int",
        a.fields(ABOUT, tokens="120"),
    ),
    Mistake(SHOW, 1, "corpus songs-corpus damaged corpus.json JSON", a.written(ABOUT, "{")),
    Mistake(SHOW, 1, "corpus songs-corpus damaged corpus.json directory", a.as_folder(ABOUT)),
    Mistake(
        SHOW, 1, "corpus songs-corpus damaged corpus.json field duplicates",
        a.fields(ABOUT, duplicates=[]),
    ),
    Mistake(
        SHOW, 1, "corpus songs-corpus damaged tokens.npy shape 120 type int16 uint16",
        a.array("songs-corpus/tokens.npy", lambda tokens: tokens.astype("i2")),
    ),
    Mistake(
        SHOW, 1, "corpus songs-corpus damaged songs.npy song 120 token",
        a.array("songs-corpus/songs.npy", lambda places: places + 1),
    ),
    Mistake(
        SHOW, 1, "corpus songs-corpus damaged file 120 token 2 song 11 corpus.json 3",
        a.several(a.fields(ABOUT, songs=3), a.forged("songs-corpus")),
    ),
    Mistake(
        SHOW, 1, "corpus songs-corpus damaged vocabulary.json scheme classic timed",
        a.several(a.fields(ABOUT, scheme="timed"), a.forged("songs-corpus")),
    ),
    Mistake(
        SHOW, 1, "corpus songs-corpus damaged ledger.jsonl 1 file 2 song",
        a.several(
            a.replaced("songs-corpus/ledger.jsonl", '"used"', '"empty"', count=1),
            a.forged("songs-corpus"),
        ),
    ),
    Mistake(
        SHOW, 1, "corpus songs-corpus damaged ledger.jsonl JSON",
        a.several(a.written("songs-corpus/ledger.jsonl", "{"), a.forged("songs-corpus")),
    ),
    *(
        Mistake(SHOW, 1, f"{name} pipe", a.as_pipe(f"songs-corpus/{name}"))
        for name in ("corpus.json", "vocabulary.json", "tokens.npy", "songs.npy", "ledger.jsonl")
    ),
    Mistake(
        SHOW, 1, "corpus songs-corpus damaged ledger.jsonl directory",
        a.as_folder("songs-corpus/ledger.jsonl"),
    ),
    Mistake(
        SHOW, 1, "corpus songs-corpus damaged tokens.npy token 99 vocabulary 11",
        a.several(
            a.array("songs-corpus/tokens.npy", lambda tokens: tokens * 0 + 99),
            a.forged("songs-corpus"),
        ),
    ),
    Mistake(
        SHOW, 1, "corpus songs-corpus damaged tokens.npy",
        a.array("songs-corpus/tokens.npy", lambda tokens: tokens[::-1]),
    ),
    Mistake(SHOW, 1, "corpus songs-corpus damaged corpus.json", a.fields(ABOUT, files=3)),
    Mistake(
        ANEW, 1, "corpus songs-corpus damaged corpus.json",
        a.several(a.fields(ABOUT, digest="0" * 32), a.sealed(ABOUT)),
    ),
    Mistake(
        CHECK, 1, "corpus songs-corpus damaged tokens.npy",
        a.array("songs-corpus/tokens.npy", lambda tokens: tokens[::-1]),
    ),
    Mistake(
        ANEW, 1, "corpus songs-corpus damaged tokens.npy token 99 vocabulary 11",
        a.several(
            a.array("songs-corpus/tokens.npy", lambda tokens: tokens * 0 + 99),
            a.forged("songs-corpus"),
        ),
    ),
    Mistake(
        ANEW, 1, "corpus songs-corpus damaged vocabulary.json G4x pitch chord",
        a.several(
            a.replaced("songs-corpus/vocabulary.json", '"G4"', '"G4x"'), a.forged("songs-corpus")
        ),
    ),
    Mistake(
        ANEW, 2, "--corpus songs-corpus --scheme timed classic",
        a.several(
            a.known_scheme("timed"),
            a.fields("songs-corpus/vocabulary.json", scheme="timed"),
            a.fields(ABOUT, scheme="timed"),
            a.forged("songs-corpus"),
        ),
    ),
    # Preparing mends it, and says why that takes its time.
    Mistake(
        AGAIN, 0, "corpus songs-corpus damaged tokens.npy missing",
        a.removed("songs-corpus/tokens.npy"),
    ),
    Mistake(
        AGAIN, 0, "damaged ledger.jsonl field size",
        a.several(
            a.replaced("songs-corpus/ledger.jsonl", '"size"', '"length"'), a.forged("songs-corpus")
        ),
    ),
    Mistake(
        AGAIN, 0, "damaged ledger.jsonl 122 token 120",
        a.several(
            a.replaced("songs-corpus/ledger.jsonl", '"tokens": 60', '"tokens": 61'),
            a.forged("songs-corpus"),
        ),
    ),
    Mistake(
        AGAIN, 0, "damaged ledger.jsonl file z.mid",
        a.several(
            a.added(
                "songs-corpus/ledger.jsonl",
                '{"path": "z.mid", "size": 1, "digest": "", "tokens": 0, "status": "duplicate"}\n',
            ),
            a.forged("songs-corpus"),
        ),
    ),
]  # fmt: skip
