"""New music from a run."""

import shutil
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from helpers.midi_files import write_song

from jaxmusic.config import Config, ConfigError, DataConfig, ModelConfig, RunConfig, TrainConfig
from jaxmusic.run import Run, open_run
from jaxmusic.run_dir.folder import RunError
from jaxmusic.sampling.choice import SamplingConfig, choose_token
from jaxmusic.sampling.generate import generate
from jaxmusic.sampling.primer import SamplingError
from jaxmusic.tokenizers.tokenizer import read_tokens
from jaxmusic.trainer import fit

pytestmark = pytest.mark.slow  # whole trainings

WINDOW = 8


@pytest.fixture(scope="session", params=["last", "every"])
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp(request.param)
    for number in range(3):
        write_song(folder / "songs" / f"{number}.mid", 80, seed=number)
    embedding = request.param == "every"
    config = Config(
        data=DataConfig(midi_dir=str(folder / "songs"), window=WINDOW),
        model=ModelConfig(
            input="embedding" if embedding else "scalar", embedding_size=6, hidden_size=16,
            dense_size=12, layers=2, objective=request.param,
        ),
        train=TrainConfig(epochs=3, batch_size=16, learning_rate=5e-3),
        run=RunConfig(run_dir=str(folder / "run"), compilation_cache=False, workers=1),
    )  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)  # where the corpus of a folder of MIDI is kept
        return fit(config)


def test_logits_are_those_of_the_model(run: Run) -> None:
    ids = run.primers[:5]
    model = nnx.merge(run.graphdef, run.params, run.batch_stats)
    logits = jax.jit(model)(jnp.asarray(ids))
    expected = logits if run.config.model.objective == "last" else logits[:, -1]
    assert run.logits(ids).shape == (5, len(run.vocabulary))
    np.testing.assert_allclose(run.logits(ids), expected, atol=1e-5)
    with pytest.raises(ValueError, match="integers of shape"):
        run.logits(ids[0])


def test_greedy_is_the_likeliest_token_step_by_step(run: Run) -> None:
    """Against the plain loop: for `last` over sliding windows, for `every` over all so far."""
    prime = run.vocabulary.decode(run.primers[3])
    (piece,) = generate(run, length=20, sampling=SamplingConfig(greedy=True), prime=prime)
    ids = np.concatenate([run.primers[3], run.vocabulary.encode(piece)])
    ends = np.arange(WINDOW, len(ids))
    if run.config.model.objective == "last":
        logits = run.logits(np.stack([ids[end - WINDOW : end] for end in ends]))
    else:
        model = nnx.merge(run.graphdef, run.params, run.batch_stats)
        logits = np.asarray(jax.jit(model)(jnp.asarray(ids[None])))[0, ends - 1]
        # A program for each length takes long to compile: a few show that all are as in one.
        for end in (WINDOW, WINDOW + 7, len(ids) - 1):
            (alone,) = run.logits(ids[None, :end])
            np.testing.assert_allclose(alone, logits[end - WINDOW], atol=1e-5)
    np.testing.assert_array_equal(logits.argmax(axis=1), ids[WINDOW:])


def test_the_same_seed_gives_the_same_music(run: Run) -> None:
    first = generate(run, length=30, count=3, seed=1)
    assert generate(run, length=30, count=3, seed=1) == first
    assert generate(run, length=30, count=3, seed=2) != first
    assert len({tuple(piece) for piece in first}) == 3
    assert all(len(piece) == 30 for piece in first)
    # A shorter piece is the beginning of the longer one.
    assert generate(run, length=10, count=3, seed=1)[1] == first[1][:10]


def test_a_piece_does_not_depend_on_those_beside_it(run: Run) -> None:
    prime = run.vocabulary.decode(run.primers[0])
    alone = generate(run, length=30, count=1, prime=prime, seed=4)
    beside = generate(run, length=30, count=3, prime=prime, seed=4)
    assert beside[0] == alone[0]


def test_open_windows_give_the_tokens_of_whole_ones(run: Run) -> None:
    """Fewer tokens than a window has, as many, and beyond the slots' second turn."""
    if run.config.model.objective == "every":
        pytest.skip("its state goes on")
    for seed, length in enumerate((3, WINDOW, 5 * WINDOW + 3)):
        whole = generate(run, length=length, count=2, seed=seed, method="whole")
        assert generate(run, length=length, count=2, seed=seed, method="open") == whole


def test_samples_follow_the_probabilities(run: Run) -> None:
    """The first token of many pieces, against the softmax of the logits."""
    prime = run.vocabulary.decode(run.primers[7])
    sampling = SamplingConfig(temperature=1.0)
    pieces = generate(run, length=1, count=4000, prime=prime, seed=5, sampling=sampling)
    counts = np.bincount(
        [run.vocabulary.tokens.index(token) for (token,) in pieces],
        minlength=len(run.vocabulary),
    )
    expected = np.asarray(jax.nn.softmax(run.logits(run.primers[7:8])[0])) * 4000
    large = expected > 20
    z = (counts - expected)[large] / np.sqrt(expected[large])
    assert np.abs(z).max() < 4.5


SHARES = np.array([0.1, 0.4, 0.2, 0.3])


@pytest.mark.parametrize(
    ("sampling", "expected"),
    [
        (SamplingConfig(temperature=1.0), SHARES),
        (SamplingConfig(temperature=0.5), SHARES**2 / (SHARES**2).sum()),
        (SamplingConfig(temperature=1.0, top_k=2), np.array([0, 4 / 7, 0, 3 / 7])),
        (SamplingConfig(temperature=1.0, top_k=9), SHARES),
        # 0.4 does not reach 0.65, 0.4 + 0.3 does.
        (SamplingConfig(temperature=1.0, top_p=0.65), np.array([0, 4 / 7, 0, 3 / 7])),
        (SamplingConfig(temperature=1.0, top_p=0.01), np.array([0, 1, 0, 0])),
        (SamplingConfig(temperature=1.0, top_p=1.0), SHARES),
        (SamplingConfig(greedy=True), np.array([0, 1, 0, 0])),
    ],
)
def test_temperature_top_k_and_top_p(sampling: SamplingConfig, expected: np.ndarray) -> None:
    keys = jax.random.split(jax.random.key(0), 20_000)
    logits = jnp.log(jnp.asarray(SHARES)) + 3.0
    ids = jax.vmap(lambda key: choose_token(key, logits, sampling=sampling))(keys)
    frequencies = np.bincount(np.asarray(ids), minlength=len(SHARES)) / len(keys)
    np.testing.assert_allclose(frequencies, expected, atol=0.015)
    assert ((frequencies > 0) == (expected > 0)).all()


@pytest.mark.parametrize("value", [5e-324, 1e-320, 1e-45, 1e-38, 1e-30, 1e-20, 1e-12])
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e6])
def test_tiny_temperatures_and_shares_choose_the_likeliest(value: float, scale: float) -> None:
    """Also where the number is 0 in float32, or what is divided by it infinite."""
    keys = jax.random.split(jax.random.key(0), 50)
    logits = scale * jnp.array([0.5, -jnp.inf, 2.5, 2.25, -3.0, 1.0])
    for sampling in (
        SamplingConfig(temperature=value),
        SamplingConfig(temperature=value, top_k=3, top_p=0.9),
        SamplingConfig(temperature=1.0, top_p=value),
    ):
        ids = jax.vmap(partial(choose_token, logits=logits, sampling=sampling))(keys)
        assert set(np.asarray(ids).tolist()) == {2}, sampling


@pytest.mark.parametrize("temperature", [1e12, 1e20, 1e37, 1e38, 1e39, 1e308])
def test_huge_temperatures_make_all_tokens_equally_likely(temperature: float) -> None:
    """But for one that is never to be chosen."""
    keys = jax.random.split(jax.random.key(0), 2000)
    logits = jnp.array([0.5, -jnp.inf, 2.5, -9.0])
    sampling = SamplingConfig(temperature=temperature)
    ids = jax.vmap(partial(choose_token, logits=logits, sampling=sampling))(keys)
    frequencies = np.bincount(np.asarray(ids), minlength=4) / len(keys)
    np.testing.assert_allclose(frequencies, [1 / 3, 0, 1 / 3, 1 / 3], atol=0.05)
    assert frequencies[1] == 0


@pytest.mark.parametrize(
    ("sampling", "words"),
    [
        (SamplingConfig(temperature=0), "--temperature is 0"),
        (SamplingConfig(temperature=float("nan")), "--temperature is nan"),
        (SamplingConfig(temperature=1.0, top_k=0), "--top-k is 0"),
        (SamplingConfig(top_p=0), "--top-p is 0"),
        (SamplingConfig(top_p=1.5), "--top-p is 1.5"),
    ],
)
def test_settings_out_of_range_are_named(run: Run, sampling: SamplingConfig, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        generate(run, sampling=sampling)


def test_unsuitable_primes_are_told(run: Run) -> None:
    known = run.vocabulary.tokens[0]
    with pytest.raises(SamplingError, match="The prime has 0 tokens"):
        generate(run, prime=[])
    short = [known] * (WINDOW - 1)
    if run.config.model.objective == "last":
        with pytest.raises(SamplingError, match="has 7 tokens, but this run needs 8"):
            generate(run, prime=short)
    else:
        assert len(generate(run, prime=short, length=5)[0]) == 5


def test_a_copied_run_is_all_that_generating_needs(run: Run, tmp_path: Path) -> None:
    shutil.copytree(run.path, tmp_path / "elsewhere")
    copy = open_run(tmp_path / "elsewhere")
    assert generate(copy, length=10, seed=3) == generate(run, length=10, seed=3)
    assert copy.step == run.step
    latest = open_run(tmp_path / "elsewhere", "latest")
    assert latest.step >= copy.step


def test_primes_are_windows_of_the_corpus(run: Run) -> None:
    songs = run.path.parent / "songs"
    stream = [token for path in sorted(songs.glob("*.mid")) for token in read_tokens(path)]
    windows = {tuple(stream[at : at + WINDOW]) for at in range(len(stream) - WINDOW)}
    primers = {tuple(run.vocabulary.decode(row)) for row in run.primers}
    assert len(primers) > 50
    assert primers <= windows


def test_folders_that_are_no_runs_are_reported(run: Run, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="holds no run"):
        open_run(tmp_path)
    shutil.copytree(run.path, tmp_path / "copy")
    shutil.rmtree(tmp_path / "copy" / "checkpoints")
    with pytest.raises(RunError, match="no checkpoint yet"):
        open_run(tmp_path / "copy")
    (tmp_path / "copy" / "vocabulary.json").write_text("{")
    with pytest.raises(RunError, match="damaged"):
        open_run(tmp_path / "copy")
