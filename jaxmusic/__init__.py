"""jaxmusic: from a folder of MIDI files to a trained LSTM and new music.

The names below load their modules when first used: `import jaxmusic` alone imports no JAX.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jaxmusic.config import PRESETS, Config
    from jaxmusic.corpus.corpus import Corpus
    from jaxmusic.nn.model import MusicLSTM
    from jaxmusic.preparation.prepare import prepare
    from jaxmusic.run import Run, open_run
    from jaxmusic.sampling.generate import generate
    from jaxmusic.tokenizers.tokenizer import read_tokens, write_midi
    from jaxmusic.tokenizers.vocabulary import Vocabulary
    from jaxmusic.trainer import fit

_HOMES = {
    "PRESETS": "config",
    "Config": "config",
    "Corpus": "corpus.corpus",
    "prepare": "preparation.prepare",
    "MusicLSTM": "nn.model",
    "Run": "run",
    "open_run": "run",
    "generate": "sampling.generate",
    "Vocabulary": "tokenizers.vocabulary",
    "read_tokens": "tokenizers.tokenizer",
    "write_midi": "tokenizers.tokenizer",
    "fit": "trainer",
}

__all__ = [  # noqa: RUF022 (by home, as the map above)
    "PRESETS",
    "Config",
    "Corpus",
    "prepare",
    "MusicLSTM",
    "Run",
    "open_run",
    "generate",
    "Vocabulary",
    "read_tokens",
    "write_midi",
    "fit",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'jaxmusic' has no attribute {name!r}")
    return getattr(import_module(f"jaxmusic.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(_HOMES)
