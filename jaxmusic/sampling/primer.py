"""What a piece begins with: nothing, or a prime, which is fitted to the vocabulary."""

from collections.abc import Callable, Sequence

import numpy as np

from jaxmusic.config import MOST_SEMITONES
from jaxmusic.errors import UserError
from jaxmusic.run import Run
from jaxmusic.tokenizers.tokenizer import Tokenizer, get_tokenizer
from jaxmusic.tokenizers.vocabulary import RARE

SHOWN = 5  # unknown tokens in a message


class SamplingError(UserError):
    """A primer that can't be used."""


def begins_from_nothing(run: Run) -> bool:
    """Whether a piece can begin with the token that begins every song.

    A network with the objective `last` has only seen whole windows.
    """
    end_token = get_tokenizer(run.vocabulary.scheme).end_token
    return (
        end_token is not None
        and end_token in run.vocabulary
        and run.config.model.objective == "every"
    )


def without_end(tokens: Sequence[str], tokenizer: Tokenizer) -> list[str]:
    """The tokens of a song that can go on: without the tokens that end it."""
    stop = len(tokens)
    while stop > 0 and tokens[stop - 1] == tokenizer.end_token:
        stop -= 1
    return list(tokens[:stop])


def fit_prime(run: Run, prime: Sequence[str], log: Callable[[str], None]) -> tuple[np.ndarray, int]:
    """Ids of a prime's last tokens (time,), and the semitones by which they were transposed.

    They are a window of tokens, or fewer for the objective `every`, or the whole prime for a
    network that was trained with its state carried through songs. The prime is transposed, as
    little as possible, if the run then knows all of them. Unless it does in some key, unknown
    tokens become RARE where the run has it, and are otherwise left out. `log` gets a line for what
    was changed.

    Raises SamplingError when too few tokens are left.
    """
    vocabulary = run.vocabulary
    tokenizer = get_tokenizer(vocabulary.scheme)
    tokens = without_end(prime, tokenizer)
    window = max(1, len(tokens)) if run.config.data.carry_state else run.config.data.window
    for semitones in sorted(range(-MOST_SEMITONES, MOST_SEMITONES + 1), key=abs):
        moved = [_transposed(tokenizer, token, semitones) for token in tokens[-window:]]
        last = [token for token in moved if token is not None and token in vocabulary]
        if len(last) == len(moved):
            break
    else:
        semitones = 0
        last = [token for token in tokens if token in vocabulary][-window:]
        if RARE in vocabulary:
            last = [token if token in vocabulary else RARE for token in tokens[-window:]]
    unknown = sorted(set(tokens[-window:]) - set(vocabulary.tokens)) if semitones == 0 else []
    names = ", ".join(unknown[:SHOWN]) + (", ..." if len(unknown) > SHOWN else "")
    needed = 1 if run.config.model.objective == "every" else window
    if len(last) < needed:
        without = f" without the {len(unknown)} that the run doesn't know ({names})"
        raise SamplingError(
            f"The prime has {len(last)} tokens{without if unknown else ''}, but this run needs "
            f"{needed}: give a longer piece{', more like its songs' if unknown else ''}."
        )
    if semitones:
        log(
            f"The prime is transposed by {semitones:+} semitones, to the nearest key in which the "
            "run knows all its tokens; the music is transposed back."
        )
    elif unknown and RARE not in vocabulary:
        log(
            f"The prime has {len(unknown)} distinct tokens that the run doesn't know ({names}): "
            "they are left out."
        )
    return vocabulary.encode(last), semitones


def _transposed(tokenizer: Tokenizer, token: str, semitones: int) -> str | None:
    """The token in another key; None where the scheme has none."""
    if semitones == 0:
        return token
    try:
        return tokenizer.transpose(token, semitones)
    except ValueError:
        return None
