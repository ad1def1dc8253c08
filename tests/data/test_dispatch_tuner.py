"""The steps of a dispatch."""

from jaxmusic.data.dispatch_tuner import DispatchTuner


def test_steps_are_measured_on_the_first_ones() -> None:
    tuner = DispatchTuner(100, 64)
    assert tuner.steps == 1
    assert [step for step in range(100, 120) if tuner.is_measured_after(step)] == [104]
    tuner.tune(128 / 0.011, 128)  # a step takes 11 ms, a dispatch should take 100 ms
    assert tuner.steps == 9
    tuner.tune(128 / 0.0001, 128)
    assert tuner.steps == 64
    tuner.tune(1.0, 128)
    assert tuner.steps == 1
    tuner.tune(None, 128)
    assert tuner.steps == 1


def test_a_fixed_number_stays() -> None:
    tuner = DispatchTuner(0, 7, fixed=7)
    assert tuner.steps == 7
    assert not any(tuner.is_measured_after(step) for step in range(10))
    assert DispatchTuner(0, 1).steps == 1 and not DispatchTuner(0, 1).is_measured_after(4)
