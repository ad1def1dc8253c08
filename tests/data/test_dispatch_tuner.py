"""How many steps a dispatch has."""

from jaxmusic.data.dispatch_tuner import Pace


def test_it_is_learnt_from_the_first_steps() -> None:
    pace = Pace(100, 64)
    assert pace.steps == 1
    assert [step for step in range(100, 120) if pace.learns_after(step)] == [104]
    pace.learn(128 / 0.011, 128)  # a step takes 11 ms, a dispatch shall take 100 ms
    assert pace.steps == 9
    pace.learn(128 / 0.0001, 128)
    assert pace.steps == 64
    pace.learn(1.0, 128)
    assert pace.steps == 1
    pace.learn(None, 128)
    assert pace.steps == 1


def test_what_is_given_stays() -> None:
    pace = Pace(0, 7, given=7)
    assert pace.steps == 7
    assert not any(pace.learns_after(step) for step in range(10))
    assert Pace(0, 1).steps == 1 and not Pace(0, 1).learns_after(4)
