"""A run's settings as JSON."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from jaxmusic.config import PRESETS, Config, ConfigError
from jaxmusic.run_dir.config_file import load_config, save_config
from jaxmusic.storage.reading import with_digest


@pytest.mark.parametrize("preset", PRESETS)
def test_settings_survive_json(preset: str, tmp_path: Path) -> None:
    save_config(PRESETS[preset], tmp_path / "config.json")
    assert load_config(tmp_path / "config.json") == PRESETS[preset]


def test_fields_that_an_older_run_lacks_have_their_defaults(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    parts = {"data": {"window": 7}, "model": {}, "train": {}, "run": {}}
    path.write_text(json.dumps(with_digest({"format": 1, **parts})))
    config = load_config(path)
    assert config.data.window == 7
    assert config.model == Config().model


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (None, "can't be read as a run's settings: .*No such file"),
        ("{", "can't be read as a run's settings: it is not JSON"),
        ('{"format": ' + "[" * 100_000, "it is nested too deep"),
        ("[]", "expected `object`, got `array`"),
        ('{"format": "1"}', "lacks the integer field 'format'"),
        ('{"format": 2}', "by a newer version of jaxmusic .format 2; .* update jaxmusic"),
        ('{"format": 0}', "by an older version of jaxmusic .format 0; .* train anew"),
        ('{"format": 1}', "it lacks the part 'data'"),
        ('{"format": 1, "data": [], "model": {}}', "it lacks the part 'data'"),
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
        ("model", "hidden_size", "512", "'model.hidden_size': expected `int`, got `str`"),
        ("model", "hidden_size", 512.0, "expected `int`, got `float`"),
        ("model", "hidden_size", True, "expected `int`, got `bool`"),
        ("model", "hidden_size", None, "expected `int`, got `null`"),
        ("model", "hidden_size", -1, "--hidden-size is -1, but must be 1 or more"),
        (
            "model",
            "hidden_size",
            2**31,
            "--hidden-size is 2147483648, but must be at most 4,194,304",
        ),
        ("model", "input", "vector", "'model.input': invalid enum value 'vector'"),
        ("model", "input", ["scalar"], "'model.input': expected `str`, got `array`"),
        ("model", "unknown", 1, "fields that this version doesn't know: 'unknown'"),
        ("data", "across_songs", 1, "'data.across_songs': expected `bool`, got `int`"),
        ("data", "corpus", 3, "'data.corpus': expected `str . null`, got `int`"),
        ("data", "held_out", float("nan"), "it holds NaN, which is not a number"),
        ("data", "transpose", "up", "--transpose is up"),
        ("train", "max_steps", "x" * 999, "'train.max_steps': expected `int . null`, got `str`"),
        (
            "train",
            "learning_rate",
            [],
            "'train.learning_rate': expected `float`, got `array`",
        ),
        ("train", "learning_rate", 10**400, "'train.learning_rate': number out of range"),
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
    document = json.loads(path.read_text())
    document["run"]["checkpoint_minutes"] = 5
    path.write_text(json.dumps(with_digest(document)))
    assert load_config(path) == Config()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"objective": "last"', '"objective": "every"'),
        ('"epochs": 200', '"epochs": 20'),  # which may change, by its flag
        ('"seed": 0', '"seed": 1'),
        ('"digest"', '"digest": "", "Digest"'),
    ],
)
def test_an_edit_is_refused(tmp_path: Path, old: str, new: str) -> None:
    path = tmp_path / "config.json"
    save_config(Config(), path)
    text = path.read_text()
    assert text.count(old) == 1
    path.write_text(text.replace(old, new))
    with pytest.raises(ConfigError, match="is not what was written|parts that this version"):
        load_config(path)


@pytest.mark.parametrize(
    ("name", "largest"),
    [
        ("layers", 128), ("hidden_size", 2**22), ("embedding_size", 2**22), ("dense_size", 2**22),
        ("window", 2**20), ("batch_size", 2**24),
    ],
)  # fmt: skip
def test_absurd_sizes_are_refused_before_anything_is_built(name: str, largest: int) -> None:
    (part,) = (
        each for each in ("data", "model", "train") if hasattr(getattr(Config(), each), name)
    )
    sizes = dataclasses.replace(getattr(Config(), part), **{name: largest + 1})
    flag = "--" + name.replace("_", "-")
    dataclasses.replace(Config(), **{part: dataclasses.replace(sizes, **{name: largest})}).check()
    with pytest.raises(ConfigError, match=f"{flag} is .*, but must be at most"):
        dataclasses.replace(Config(), **{part: sizes}).check()
