"""A run's settings as JSON."""

import json
from pathlib import Path
from typing import Any

import pytest

from jaxmusic.config import PRESETS, Config, ConfigError
from jaxmusic.config_file import load_config, save_config


@pytest.mark.parametrize("preset", PRESETS)
def test_settings_survive_json(preset: str, tmp_path: Path) -> None:
    save_config(PRESETS[preset], tmp_path / "config.json")
    assert load_config(tmp_path / "config.json") == PRESETS[preset]


def test_fields_that_an_older_run_lacks_have_their_defaults(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text('{"format": 1, "data": {"window": 7}, "model": {}, "train": {}, "run": {}}')
    config = load_config(path)
    assert config.data.window == 7
    assert config.model == Config().model


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (None, "can't be read as a run's settings: .*No such file"),
        ("{", "can't be read as a run's settings: it is no JSON"),
        ("[" * 100_000, "it is nested too deep"),
        ("[]", "it tells no format"),
        ('{"format": "1"}', "it tells no format"),
        ('{"format": 2}', "by a newer version of jaxmusic .format 2; .* update jaxmusic"),
        ('{"format": 0}', "by an older version of jaxmusic .format 0; .* train anew"),
        ('{"format": 1}', "it has no part 'data'"),
        ('{"format": 1, "data": [], "model": {}}', "it has no part 'data'"),
        ('{"format": 1, "extra": {}}', "parts that this version doesn't know: 'extra'"),
    ],
)
def test_other_files_are_refused_by_name(tmp_path: Path, text: str | None, reason: str) -> None:
    path = tmp_path / "config.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ConfigError, match=reason) as caught:
        load_config(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("part", "field", "value", "reason"),
    [
        ("model", "hidden_size", "512", "its hidden_size is '512', where a value of the type int"),
        ("model", "hidden_size", 512.0, "its hidden_size is 512.0, "),
        ("model", "hidden_size", True, "its hidden_size is True, "),
        ("model", "hidden_size", None, "its hidden_size is None, "),
        ("model", "hidden_size", -1, "--hidden-size is -1, but must be 1 or more"),
        ("model", "hidden_size", 2**31, "--hidden-size is 2147483648, but must be below"),
        ("model", "input", "vector", "its input is 'vector', .*Literal"),
        ("model", "input", ["scalar"], "its input is "),
        ("model", "unknown", 1, "fields that this version doesn't know: 'unknown'"),
        ("data", "across_songs", 1, "its across_songs is 1, where a value of the type bool"),
        ("data", "corpus", 3, "its corpus is 3, where a value of the type str | None"),
        ("data", "held_out", float("nan"), "--held-out is nan"),
        ("data", "transpose", "up", "--transpose is up"),
        ("train", "max_steps", "x" * 999, "its max_steps is 'x{49}, where"),
        (
            "train",
            "learning_rate",
            [],
            "its learning_rate is .., where a value of the type",
        ),
        ("train", "learning_rate", 10**400, "its learning_rate is 1"),
    ],
)
def test_values_that_dont_fit_are_named(
    tmp_path: Path, part: str, field: str, value: Any, reason: str
) -> None:
    path = tmp_path / "config.json"
    save_config(Config(), path)
    document = json.loads(path.read_text())
    document[part][field] = value
    path.write_text(json.dumps(document))
    with pytest.raises(ConfigError, match=reason) as caught:
        load_config(path)
    assert str(path) in str(caught.value) and len(str(caught.value)) < 300


def test_whole_numbers_are_real_ones_too(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    save_config(Config(), path)
    path.write_text(
        path.read_text().replace('"checkpoint_minutes": 5.0', '"checkpoint_minutes": 5')
    )
    assert load_config(path) == Config()
