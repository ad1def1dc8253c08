"""The manners of the dances and character pieces: metres, rhythms, textures."""

from ..score import QUARTER
from .phrases import Manner

MINUET = Manner((3, 4), ("4 4 4", "4 2 2 4", "2 2 2 2 4", "6 2 4", "8 4", "2 2 4 4", "4 2 2 2 2"),
                "8 -4", "8 -4", "minuet", thick=1)
TRIO = Manner((3, 4), ("2 2 2 2 2 2", "4 2 2 2 2", "2 2 2 2 4", "6 2 4"), "4 4 -4", "8 -4",
              "walk", velocity=68, high="G5")
WALTZ = Manner((3, 4), ("8 4", "4 4 4", "12", "6 2 4", "4 8", "2 2 2 2 4", "4 4 2 2"), "12", "12",
               "waltz", strong=3 * QUARTER, high="C6", low="E4", motif=4.0, rubato=True)
WALTZ_B = Manner((3, 4), ("2 2 2 2 2 2", "4 2 2 2 2", "8 4", "4 2 2 4"), "8 4", "12", "waltz",
                 strong=3 * QUARTER, low="F4", high="C6", thick=1, velocity=86)
MAZURKA = Manner((3, 4), ("3 1 4 4", "3 1 8", "2 2 4 4", "3 1 3 1 4", "4 8"), "4 8", "4 8",
                 "waltz", thick=1, velocity=84, high="B5", rubato=True)
SARABANDE = Manner((3, 4), ("4 6 2", "4 8", "4 4 4", "4 6 1 1", "6 2 4", "4 4 2 2"), "4 8",
                   "12", "sarabande", thick=1, velocity=72, rubato=True)
MARCH = Manner((4, 4), ("4 3 1 4 4", "6 2 4 4", "4 4 3 1 4", "3 1 3 1 4 4", "4 4 8", "8 4 4"),
               "4 4 8", "8 4 -4", "march", thick=2, velocity=92)
MARCH_B = Manner((4, 4), ("4 2 2 4 4", "6 2 8", "2 2 2 2 4 4", "8 4 4"), "8 4 -4", "12 -4",
                 "alberti", velocity=70)
GAVOTTE = Manner((4, 4), ("4 4 4 4", "4 2 2 4 4", "2 2 2 2 4 4", "4 4 2 2 4", "6 2 4 4"), "4 4 8",
                 "4 4 8", "pulse4", thick=1)
SONG = Manner((4, 4), ("8 4 4", "6 2 8", "6 2 4 4", "4 4 8", "4 4 4 4", "12 2 2"), "12 -4", "16",
              "broken", motif=4.0, velocity=74, rubato=True)
SONG_B = Manner((4, 4), ("6 2 4 4", "8 4 2 2", "2 2 4 8", "4 4 6 2", "4 2 2 8"), "8 4 4", "16",
                "wave", velocity=80, high="B5", rubato=True)
NOCTURNE = Manner((12, 8), ("12 4 2 6", "8 4 8 4", "12 12", "6 4 2 8 4", "4 2 4 2 8 4"),
                  "12 8 4", "24", "nocturne", strong=3 * QUARTER // 2, low="F4", high="D6",
                  velocity=76, rubato=True)
ALLEGRO = Manner((4, 4), ("4 4 4 4", "8 4 4", "2 2 2 2 4 4", "4 2 2 2 2 2 2", "6 2 4 4", "4 2 2 8",
                          "2 2 2 2 2 2 2 2"), "4 4 4 -4", "8 -8", "alberti", high="B5")
ALLEGRO_B = Manner((4, 4), ("2 2 2 2 2 2 2 2", "4 2 2 4 2 2", "6 1 1 4 4", "2 2 2 2 4 4"),
                   "4 4 4 -4", "8 -8", "wave", high="B5", velocity=70)
POLKA = Manner((2, 4), ("2 1 1 2 2", "2 2 2 2", "1 1 1 1 2 2", "3 1 2 2", "2 2 4", "1 1 2 1 1 2"),
               "2 2 4", "4 -4", "oompah", strong=QUARTER, velocity=86, thick=1)
RAG = Manner((2, 4), ("1 2 1 2 2", "1 2 1 4", "2 1 2 1 2", "1 2 2 1 2", "2 4 2", "1 1 1 1 1 2 1"),
             "1 2 1 4", "2 2 -4", "stride", strong=QUARTER, velocity=84, low="F4", high="C6",
             hand=(43, 62), thick=1)
RAG_B = Manner((2, 4), ("1 2 1 1 2 1", "2 1 2 1 2", "1 2 1 2 2", "1 1 1 1 4"), "2 2 4",
               "2 2 -4", "stride", strong=QUARTER, velocity=90, low="F4", high="C6",
               hand=(43, 62), thick=2)
GIGUE = Manner((6, 8), ("2 2 2 2 2 2", "4 2 2 2 2", "4 2 4 2", "2 2 2 4 2", "6 2 2 2"), "4 2 6",
               "6 4 -2", "jig", strong=3 * QUARTER // 2, high="B5", velocity=84)
SICILIANO = Manner((6, 8), ("3 1 2 4 2", "3 1 2 3 1 2", "4 2 4 2", "3 1 2 6", "4 2 3 1 2"),
                   "4 2 6", "12", "siciliano", strong=3 * QUARTER // 2, velocity=70, rubato=True)
BARCAROLLE = Manner((6, 8), ("6 4 2", "4 2 6", "4 2 4 2", "2 2 2 6", "6 2 2 2"), "10 -2", "12",
                    "wave", strong=3 * QUARTER // 2, velocity=72, high="B5", motif=4.0, rubato=True)
BARCAROLLE_B = Manner((6, 8), ("2 2 2 4 2", "4 2 2 2 2", "6 4 2"), "6 6", "12", "barcarolle",
                      strong=3 * QUARTER // 2, velocity=80, high="B5", thick=1)
TARANTELLA = Manner((6, 8), ("2 2 2 2 2 2", "4 2 2 2 2", "4 2 4 2", "2 2 2 4 2"), "4 2 6",
                    "6 -6", "tarantella", strong=3 * QUARTER // 2, velocity=90, high="B5")
LULLABY = Manner((3, 4), ("4 8", "8 4", "6 2 4", "2 2 4 4", "12"), "12", "12", "wave",
                 velocity=62, motif=4.0, rubato=True)
