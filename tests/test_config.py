"""Settings and presets."""

import dataclasses
from typing import Any

import pytest

from jaxmusic.config import (
    CHANGEABLE,
    PRESETS,
    Config,
    ConfigError,
    DataConfig,
    ModelConfig,
    RunConfig,
    TrainConfig,
    differences,
)
from jaxmusic.ranges import flag


def test_classic_is_the_notebook() -> None:
    classic = PRESETS["classic"]
    assert classic.data == DataConfig(window=100, stride=1, across_songs=True, held_out=0)
    assert classic.model == ModelConfig(
        input="scalar", hidden_size=512, layers=3, dense_size=256, dropout=0.3,
        recurrent_dropout=0.3, batch_norm_momentum=0.99, objective="last",
    )  # fmt: skip
    assert classic.train == TrainConfig(epochs=200, batch_size=128, learning_rate=1e-3)
    other = PRESETS["classic-64"]
    assert (other.train.epochs, other.train.batch_size) == (100, 64)
    assert other == dataclasses.replace(classic, train=other.train)


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_are_sound(preset: str) -> None:
    PRESETS[preset].check()


@pytest.mark.parametrize(
    ("part", "field", "value"),
    [
        ("data", "window", 0),
        ("data", "stride", -1),
        ("data", "held_out", 1.0),
        ("model", "hidden_size", 0),
        ("model", "layers", 0),
        ("model", "dropout", 1.0),
        ("model", "recurrent_dropout", -0.1),
        ("train", "epochs", 0),
        ("train", "batch_size", 0),
        ("train", "learning_rate", 0.0),
        ("train", "learning_rate", float("nan")),
        ("train", "seed", -1),
        ("train", "max_steps", 0),
        ("train", "max_steps", 2**31),
        ("model", "hidden_size", 10**30),
        ("run", "max_skipped_share", 1.1),
        ("run", "max_skipped_share", float("nan")),
        ("run", "devices", 0),
        ("run", "workers", 0),
        ("run", "log_steps", 0),
        ("run", "checkpoint_minutes", 0.0),
    ],
)
def test_values_out_of_range_are_named(part: str, field: str, value: float) -> None:
    config = Config()
    changed = dataclasses.replace(getattr(config, part), **{field: value})
    with pytest.raises(ConfigError, match=f"{flag(field)} is {value}"):
        dataclasses.replace(config, **{part: changed}).check()


def test_patience_needs_songs_that_are_held_out() -> None:
    patient = TrainConfig(patience=2)
    for data in (DataConfig(held_out=0.1), DataConfig(held_out_match="valid/*")):
        Config(data=data, train=patient).check()
    with pytest.raises(ConfigError, match="--patience 2 needs a held-out loss"):
        Config(train=patient).check()


CARRYING: dict[str, Any] = {
    "data": DataConfig(window=50, stride=50, across_songs=False, carry_state=True),
    "model": ModelConfig(objective="every"),
}


def test_state_is_carried_only_through_windows_that_follow_each_other() -> None:
    Config(**CARRYING).check()
    for part, field, value in [
        ("data", "stride", 49),
        ("data", "across_songs", True),
        ("model", "objective", "last"),
    ]:
        changed = dataclasses.replace(CARRYING[part], **{field: value})
        with pytest.raises(ConfigError, match=r"--carry-state needs .*: give --stride 50 \("):
            Config(**(CARRYING | {part: changed})).check()


def test_only_what_changes_no_step_may_change() -> None:
    ours = Config()
    for part in dataclasses.fields(Config):
        for field in dataclasses.fields(getattr(ours, part.name)):
            inner = dataclasses.replace(getattr(ours, part.name), **{field.name: "other"})
            theirs = dataclasses.replace(ours, **{part.name: inner})
            expected = [] if field.name in CHANGEABLE else [field.name]
            assert differences(ours, theirs) == expected
    assert {"epochs", "checkpoint_minutes", "log_steps", "devices", "run_dir"} <= CHANGEABLE
    assert not {"seed", "batch_size", "window", "hidden_size", "precision"} & CHANGEABLE


def test_field_names_are_unique_over_all_parts() -> None:
    """Flags carry no prefix, and differences are named by the field's name alone."""
    parts = (DataConfig, ModelConfig, TrainConfig, RunConfig)
    names = [field.name for part in parts for field in dataclasses.fields(part)]
    assert len(names) == len(set(names))


@pytest.mark.raises_at("jaxmusic/config.py:check", "--tied-output")
def test_a_tied_output_needs_an_embedding() -> None:
    with pytest.raises(ConfigError, match="--tied-output needs an embedding: .*, not scalar"):
        Config(model=ModelConfig(tied_output=True)).check()
    Config(model=ModelConfig(tied_output=True, input="embedding", dense_size=0)).check()
