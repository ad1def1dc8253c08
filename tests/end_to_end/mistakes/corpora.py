"""Corpora that are damaged, half there, or of something else."""

import helpers.arrangements as a
from end_to_end.mistakes.mistake import ABOUT, AGAIN, ANEW, CHECK, CORPUS, SHOW, Mistake

CORPORA = [
    Mistake(
        SHOW, 1,
        f"{CORPUS}corpus.json is missing (half-copied?). Copy it again, whole, or prepare it "
        "again.",
        a.removed(ABOUT),
    ),
    Mistake(
        SHOW, 1, f"{CORPUS}tokens.npy is missing (half-copied?).",
        a.removed("songs-corpus/tokens.npy"),
    ),
    Mistake(
        SHOW, 1,
        "Error: The corpus songs-corpus was made by a newer version of jaxmusic (format 2; this "
        "one reads 1): update jaxmusic.",
        a.told(ABOUT, format=2),
    ),
    Mistake(
        SHOW, 1,
        "made by an older version of jaxmusic (format 0; this one reads 1): prepare it again.",
        a.told(ABOUT, format=0),
    ),
    Mistake(
        SHOW, 1, f"{CORPUS}corpus.json: the field 'tokens': expected `int`",
        a.told(ABOUT, tokens="120"),
    ),
    Mistake(SHOW, 1, f"{CORPUS}corpus.json: it is no JSON: ", a.written(ABOUT, "{")),
    Mistake(SHOW, 1, f"{CORPUS}corpus.json: Is a directory.", a.as_folder(ABOUT)),
    Mistake(
        SHOW, 1, f"{CORPUS}corpus.json: the field 'duplicates': expected `object`, got",
        a.told(ABOUT, duplicates=[]),
    ),
    Mistake(
        SHOW, 1,
        f"{CORPUS}tokens.npy has the shape (120,) and the type int16, where a row of uint16 is "
        "expected.",
        a.array("songs-corpus/tokens.npy", lambda tokens: tokens.astype("i2")),
    ),
    Mistake(
        SHOW, 1, f"{CORPUS}songs.npy tells no places of songs among 120 tokens.",
        a.array("songs-corpus/songs.npy", lambda places: places + 1),
    ),
    Mistake(
        SHOW, 1,
        f"{CORPUS}its files hold 120 tokens, 2 songs and 11 distinct tokens, where its "
        "corpus.json tells 120 tokens, 3 songs and 11 distinct tokens.",
        a.several(a.told(ABOUT, songs=3), a.forged("songs-corpus")),
    ),
    Mistake(
        SHOW, 1,
        f"{CORPUS}vocabulary.json is of the scheme classic, where its corpus.json tells 'timed'.",
        a.several(a.told(ABOUT, scheme="timed"), a.forged("songs-corpus")),
    ),
    Mistake(
        SHOW, 1, f"{CORPUS}ledger.jsonl tells 1 files used, where 2 songs are here.",
        a.several(
            a.replaced("songs-corpus/ledger.jsonl", '"used"', '"empty"', count=1),
            a.forged("songs-corpus"),
        ),
    ),
    Mistake(
        SHOW, 1, f"{CORPUS}ledger.jsonl: it is no JSON: ",
        a.several(a.written("songs-corpus/ledger.jsonl", "{"), a.forged("songs-corpus")),
    ),
    *(
        Mistake(SHOW, 1, "it is a pipe, where a file is", a.as_pipe(f"songs-corpus/{name}"))
        for name in ("corpus.json", "vocabulary.json", "tokens.npy", "songs.npy", "ledger.jsonl")
    ),
    Mistake(
        SHOW, 1, f"{CORPUS}ledger.jsonl: Is a directory.",
        a.as_folder("songs-corpus/ledger.jsonl"),
    ),
    Mistake(
        SHOW, 1, f"{CORPUS}tokens.npy has the token 99, of a vocabulary of 11.",
        a.several(
            a.array("songs-corpus/tokens.npy", lambda tokens: tokens * 0 + 99),
            a.forged("songs-corpus"),
        ),
    ),
    Mistake(
        SHOW, 1, f"{CORPUS}tokens.npy is not what was written.",
        a.array("songs-corpus/tokens.npy", lambda tokens: tokens[::-1]),
    ),
    Mistake(SHOW, 1, f"{CORPUS}corpus.json is not what was written.", a.told(ABOUT, files=3)),
    Mistake(
        ANEW, 1, f"{CORPUS}corpus.json is not what was written.",
        a.several(a.told(ABOUT, digest="0" * 32), a.sealed(ABOUT)),
    ),
    Mistake(
        CHECK, 1, f"{CORPUS}tokens.npy is not what was written.",
        a.array("songs-corpus/tokens.npy", lambda tokens: tokens[::-1]),
    ),
    Mistake(
        ANEW, 1, f"{CORPUS}tokens.npy has the token 99, of a vocabulary of 11.",
        a.several(
            a.array("songs-corpus/tokens.npy", lambda tokens: tokens * 0 + 99),
            a.forged("songs-corpus"),
        ),
    ),
    Mistake(
        ANEW, 1, f"{CORPUS}vocabulary.json: 'G4x' is neither a pitch nor a chord in normal order.",
        a.several(
            a.replaced("songs-corpus/vocabulary.json", '"G4"', '"G4x"'), a.forged("songs-corpus")
        ),
    ),
    Mistake(
        ANEW, 2,
        "Error: --corpus songs-corpus is of the scheme timed, not of --scheme classic: prepare "
        "one, or give that scheme.",
        a.several(
            a.patched("jaxmusic.tokenizers.tokens.SCHEMES", ("classic", "timed")),
            a.told("songs-corpus/vocabulary.json", scheme="timed"),
            a.told(ABOUT, scheme="timed"),
            a.forged("songs-corpus"),
        ),
    ),
    # Preparing mends it, and says why that takes its time.
    Mistake(
        AGAIN, 0, "The corpus songs-corpus is damaged: tokens.npy is missing (half-copied?): it is",
        a.removed("songs-corpus/tokens.npy"),
    ),
    Mistake(
        AGAIN, 0, "is damaged: ledger.jsonl: it lacks the field 'size': it is made anew.",
        a.several(
            a.replaced("songs-corpus/ledger.jsonl", '"size"', '"length"'), a.forged("songs-corpus")
        ),
    ),
    Mistake(
        AGAIN, 0, "is damaged: ledger.jsonl tells 122 tokens, where it holds 120: it is made anew.",
        a.several(
            a.replaced("songs-corpus/ledger.jsonl", '"tokens": 60', '"tokens": 61'),
            a.forged("songs-corpus"),
        ),
    ),
    Mistake(
        AGAIN, 0, "is damaged: ledger.jsonl: no file is the same as z.mid: it is made anew.",
        a.several(
            a.added(
                "songs-corpus/ledger.jsonl",
                '{"path": "z.mid", "size": 1, "digest": "", "tokens": 0, "status": "duplicate"}\n',
            ),
            a.forged("songs-corpus"),
        ),
    ),
]  # fmt: skip
