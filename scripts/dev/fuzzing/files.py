"""Bad files by number: file k of a seed is always the same."""

import random
from collections.abc import Sequence
from typing import NamedTuple

from fuzzing.damage import INNER, WAYS, Damage
from fuzzing.loads import LOADS
from fuzzing.pieces import HEADER_SIZE, chunk, split, valid_file

LOAD_EVERY = 125  # one file in so many is a load
INSIDE = 0.7  # share of the damage that keeps to one chunk, where it can
SHORTEST = 30  # bytes of what is damaged
GENERATED = 0.3  # share of the files that are no songs to begin with


class BadFile(NamedTuple):
    """A file, and how it was made."""

    kind: str
    data: bytes


def make_file(songs: Sequence[bytes], seed: int, number: int) -> BadFile:
    """File `number` of a seed, made of one of the songs or of nothing."""
    rng = random.Random(f"{seed}/{number}")
    if number % LOAD_EVERY == 0:
        name = list(LOADS)[number // LOAD_EVERY % len(LOADS)]
        return BadFile(f"load: {name}", LOADS[name](rng))
    names = [*WAYS, "several", "none"]
    name = names[number % len(names)]
    data = valid_file(rng) if rng.random() < GENERATED else rng.choice(songs)
    if name == "none":
        return BadFile("no damage", valid_file(rng))
    if name != "several":
        return BadFile(name, _damaged(rng, data, WAYS[name]))
    for _ in range(rng.randint(2, 6)):
        data = _damaged(rng, data, rng.choice(list(WAYS.values())))
    return BadFile(name, data)


def _damaged(rng: random.Random, data: bytes, way: Damage) -> bytes:
    """A damaged file; mostly inside a track, whose size is then corrected, so that it is read."""
    if len(data) < SHORTEST:
        return data
    if way in INNER and rng.random() < INSIDE:
        chunks = split(data)
        place = rng.randrange(len(chunks))
        name, body = chunks[place][:4], chunks[place][HEADER_SIZE:]
        if len(body) >= SHORTEST:
            chunks[place] = chunk(name, way(rng, body))
            return b"".join(chunks)
    return way(rng, data)
