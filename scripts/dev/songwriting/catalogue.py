"""The catalogue: every piece of the set, with its key and its seed."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

from . import notation
from .composing.chorales import chorale, prelude
from .composing.counterpoint import Canon, Weave, canon, weave_piece
from .composing.forms import Form, dance, ground, rondo, variations
from .composing.manners import (
    ALLEGRO,
    ALLEGRO_B,
    BARCAROLLE,
    BARCAROLLE_B,
    GAVOTTE,
    GIGUE,
    LULLABY,
    MARCH,
    MARCH_B,
    MAZURKA,
    MINUET,
    NOCTURNE,
    POLKA,
    RAG,
    RAG_B,
    SARABANDE,
    SICILIANO,
    SONG,
    SONG_B,
    TARANTELLA,
    TRIO,
    WALTZ,
    WALTZ_B,
)
from .composing.plans import FUGUE_MAJOR, FUGUE_MINOR, INVENTION_MAJOR, INVENTION_MINOR
from .keys import Key
from .score import Score

SOURCES = Path(__file__).resolve().parents[3] / "midi_songs" / "sources"

TWO_VOICES = (("A3", "C6"), ("D2", "E4"))
THREE_VOICES = (("E4", "A5"), ("A3", "D5"), ("D2", "A3"))
_RUNNING = ("-1 1 1 1 1 1 1 1 2 2 2 2", "2 1 1 2 2 1 1 1 1 2 2", "-2 2 1 1 1 1 2 2 2 2")
_STATELY = ("4 2 2 2 1 1 2 2", "4 4 2 2 2 2", "-2 2 2 2 4 2 2")
_TRIPPING = ("2 2 2 1 1 2 2", "4 2 1 1 2 2", "-2 1 1 2 2 2 2")


@dataclass(frozen=True)
class Composed:
    """A piece that the program composes: equal entries give equal pieces."""

    form: str  # for the file's name
    key: str
    seed: int
    make: Form

    @property
    def name(self) -> str:
        tonic = self.key.removesuffix("m").lower()
        tonic = tonic[0] + {"": "", "#": "sharp", "b": "flat"}[tonic[1:]]
        return f"composed_{self.form}_{tonic}_{'minor' if self.key.endswith('m') else 'major'}"

    def score(self) -> Score:
        return self.make(Key.parse(self.key), Random(self.seed))


def _invention(tempo: float, rhythms: tuple[str, ...], meter: tuple[int, int] = (4, 4)) -> Form:
    return weave_piece(Weave("Invention", meter, tempo, rhythms, TWO_VOICES),
                       INVENTION_MAJOR, INVENTION_MINOR)


def _fugue(tempo: float, rhythms: tuple[str, ...]) -> Form:
    return weave_piece(Weave("Fugue", (4, 4), tempo, rhythms, THREE_VOICES),
                       FUGUE_MAJOR, FUGUE_MINOR)


_CHACONNE_CELLS = (
    ("8 4", "12"), ("4 4 4", "8 4"), ("6 2 4", "4 4 4"), ("4 2 2 4", "2 2 4 4"),
    ("2 2 2 2 2 2", "4 2 2 2 2"), ("3 1 3 1 3 1", "3 1 4 4"),
    ("2 2 2 2 1 1 1 1", "1 1 1 1 2 2 4"), ("1 1 1 1 1 1 1 1 1 1 1 1",), ("8 4", "4 8"),
    ("4 4 4", "6 2 4"),
)

COMPOSED = (
    Composed("minuet", "F", 1, dance("Minuet", 126, MINUET, TRIO)),
    Composed("minuet", "Dm", 2, dance("Minuet", 120, MINUET, TRIO, "parallel")),
    Composed("minuet", "Bb", 3, dance("Minuet", 132, MINUET, TRIO, "relative")),
    Composed("waltz", "A", 1, dance("Waltz", 160, WALTZ, WALTZ_B, coda=True)),
    Composed("waltz", "Em", 2, dance("Waltz", 144, WALTZ, WALTZ_B, "relative", repeat=True)),
    Composed("waltz", "Db", 3, dance("Waltz", 168, WALTZ_B, WALTZ, repeat=True)),
    Composed("mazurka", "Bm", 1, dance("Mazurka", 132, MAZURKA, WALTZ, "relative", coda=True)),
    Composed("sarabande", "Gm", 1, dance("Sarabande", 66, SARABANDE, SARABANDE, "relative",
                                         repeat=True)),
    Composed("march", "D", 1, dance("March", 112, MARCH, MARCH_B, coda=True)),
    Composed("march", "Cm", 2, dance("March", 100, MARCH, MARCH_B, "relative")),
    Composed("gavotte", "G", 1, dance("Gavotte", 132, GAVOTTE, MARCH_B, "parallel")),
    Composed("polka", "C", 1, dance("Polka", 108, POLKA, POLKA, repeat=True)),
    Composed("rag", "Bb", 1, dance("Rag", 88, RAG, RAG_B, repeat=True)),
    Composed("rag", "Eb", 2, dance("Rag", 84, RAG, RAG_B, repeat=True)),
    Composed("rag", "F", 3, dance("Rag", 92, RAG_B, RAG, "dominant", repeat=True)),
    Composed("gigue", "Am", 1, dance("Gigue", 108, GIGUE, repeat=True)),
    Composed("gigue", "D", 2, dance("Gigue", 112, GIGUE, GIGUE, "dominant")),
    Composed("siciliano", "F#m", 1, dance("Siciliano", 54, SICILIANO, SICILIANO, "relative")),
    Composed("barcarolle", "G", 1, dance("Barcarolle", 66, BARCAROLLE, BARCAROLLE_B, "relative")),
    Composed("barcarolle", "Abm", 2, dance("Barcarolle", 60, BARCAROLLE, BARCAROLLE_B,
                                           "relative")),
    Composed("tarantella", "Dm", 1, dance("Tarantella", 160, TARANTELLA, TARANTELLA, "parallel",
                                          repeat=True)),
    Composed("lullaby", "Ab", 1, dance("Lullaby", 76, LULLABY, LULLABY, "dominant")),
    Composed("song", "E", 1, dance("Song without Words", 88, SONG, SONG_B, "relative")),
    Composed("song", "Cm", 2, dance("Song without Words", 84, SONG_B, SONG, "relative")),
    Composed("nocturne", "Eb", 1, dance("Nocturne", 66, NOCTURNE, repeat=True, coda=True)),
    Composed("nocturne", "C#m", 2, dance("Nocturne", 63, NOCTURNE, repeat=True, coda=True)),
    Composed("rondo", "C", 1, rondo("Rondo", 132, ALLEGRO, ALLEGRO_B)),
    Composed("rondo", "Gm", 2, rondo("Rondo", 126, ALLEGRO, ALLEGRO_B)),
    Composed("rondo", "A", 3, rondo("Rondo", 144, POLKA, GAVOTTE)),
    Composed("variations", "F", 1, variations("Theme and Variations", 92, POLKA,
                                              ("alberti16", "pulse", "harp"))),
    Composed("variations", "Am", 2, variations("Theme and Variations", 80, SONG,
                                               ("wave", "pulse4", "rolling"))),
    Composed("chaconne", "Dm", 1, ground(
        "Chaconne", 84, SARABANDE, "i | v6 | iv6 | V7",
        figures=("sarabande", "minuet", "walk", "minuet", "wave", "sarabande", "walk", "minuet",
                 "wave", "sarabande"), cells=_CHACONNE_CELLS)),
    Composed("chaconne", "Eb", 2, ground(
        "Chaconne", 92, SARABANDE, "I | V65 | vi | IV V7",
        figures=("minuet", "walk", "sarabande", "minuet", "wave", "minuet", "walk", "sarabande",
                 "wave", "minuet"), cells=_CHACONNE_CELLS)),
    Composed("chorale", "G", 1, chorale("Chorale", 72, 6, "broken")),
    Composed("chorale", "Fm", 2, chorale("Chorale", 66, 6, "rolling")),
    Composed("chorale", "A", 3, chorale("Chorale", 76, 6, "broken")),
    Composed("chorale", "Em", 4, chorale("Chorale", 69, 6, "rolling")),
    Composed("prelude", "D", 1, prelude("Prelude", 72, "bach", 0, hold=True)),
    Composed("prelude", "Bbm", 2, prelude("Prelude", 60, "long", 0, twice=False, hold=True)),
    Composed("prelude", "Ab", 3, prelude("Prelude", 66, "harp", 1)),
    Composed("prelude", "G#m", 4, prelude("Prelude", 76, "wave", 1)),
    Composed("prelude", "F#", 5, prelude("Prelude", 69, "compound", 2, meter=(6, 8), high=74)),
    Composed("prelude", "Em", 6, prelude("Etude", 92, "toccata", 2, high=76)),
    Composed("prelude", "B", 7, prelude("Etude", 80, "etude", 0, high=76)),
    Composed("invention", "D", 1, _invention(80, _RUNNING)),
    Composed("invention", "Em", 2, _invention(76, _RUNNING)),
    Composed("invention", "F", 3, _invention(84, _RUNNING)),
    Composed("invention", "Bm", 4, _invention(72, _STATELY)),
    Composed("invention", "Bb", 5, _invention(66, _TRIPPING, (6, 8))),
    Composed("invention", "Cm", 6, _invention(66, _TRIPPING, (6, 8))),
    Composed("fugue", "Gm", 1, _fugue(76, _STATELY)),
    Composed("fugue", "A", 2, _fugue(80, _STATELY)),
    Composed("fugue", "Dm", 3, _fugue(72, _RUNNING)),
    Composed("canon", "G", 1, canon(Canon(
        "Canon over a Ground", (4, 4), 76, "I V6 | vi iii6 | IV I6 | ii65 V",
        ("8 8", "4 4 4 4", "4 2 2 4 4", "2 2 2 2 4 4", "2 2 2 2 2 2 2 2", "8 4 4"),
        2, 1, ("G4", "C6")))),
    Composed("canon", "Fm", 2, canon(Canon(
        "Canon over a Ground", (3, 4), 92, "i | V65/iv | iv | VII7 | III | iiø65 | V | V7",
        ("8 4", "4 4 4", "4 2 2 4", "2 2 2 2 4", "2 2 2 2 2 2", "12"),
        2, 0, ("C4", "A5")))),
)


def sources() -> dict[str, notation.Source]:
    """The transcriptions by name."""
    return {path.stem: read_source(path) for path in sorted(SOURCES.glob("*.txt"))}


def pieces() -> Iterator[tuple[str, Score]]:
    """Every piece of the set with its name, in the order of the names."""
    made = {name: source.score for name, source in sources().items()}
    for one in COMPOSED:
        if one.name in made:
            raise ValueError(f"two pieces are called {one.name}")
        made[one.name] = one.score()
    yield from sorted(made.items())


def read_source(path: Path) -> notation.Source:
    return notation.parse(path.read_text(encoding="utf-8"), path.name)


def tables(made: dict[str, Score]) -> str:
    """The README's two tables of origins, in Markdown."""
    lines = ["| file | work | composer | bars | how sure |", "|---|---|---|---|---|"]
    for name, source in sources().items():
        facts = source.facts
        lines.append(f"| `{name}` | {facts['title']}, {facts['work']} | {facts['composer']} | "
                     f"{facts['bars']} | {facts['sure']} |")
    lines += ["", "| file | form | key | metre | seed |", "|---|---|---|---|---|"]
    for one in COMPOSED:
        score = made[one.name]
        mode = "minor" if one.key.endswith("m") else "major"
        lines.append(f"| `{one.name}` | {score.title} | {one.key.removesuffix('m')} {mode} | "
                     f"{score.meter[0]}/{score.meter[1]} | {one.seed} |")
    return "\n".join(lines)
