"""The names that --scheme, --grid and --loudness make are those of tokenizers."""

import pytest

from jaxmusic.commands.scheme_options import SchemeOptions
from jaxmusic.config import ConfigError
from jaxmusic.tokenizers.tokenizer import get_tokenizer


def test_options_complete_the_name() -> None:
    names = {
        SchemeOptions(grid=grid, loudness=loudness).complete("timed")
        for grid in (None, 12, 48)
        for loudness in (False, True)
    }
    assert names == {"timed", "timed-48", "timed-loud", "timed-48-loud"}
    assert all(get_tokenizer(name).name == name for name in names)


def test_without_options_any_name_is_as_it_is() -> None:
    for name in ("classic", "timed-48", "toy"):
        assert SchemeOptions().complete(name) == name


@pytest.mark.parametrize("options", [SchemeOptions(grid=12), SchemeOptions(loudness=True)])
@pytest.mark.parametrize("scheme", ["classic", "timed-48"])
def test_options_of_another_scheme_are_refused(options: SchemeOptions, scheme: str) -> None:
    with pytest.raises(ConfigError, match=f"but --scheme is {scheme}: give --scheme timed"):
        options.complete(scheme)
