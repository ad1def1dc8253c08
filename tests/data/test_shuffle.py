"""The order of an epoch."""

import numpy as np
import pytest

from jaxmusic.data.shuffle import shuffle


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 16, 17, 100, 1000, 57_077])
def test_each_window_comes_once(count: int) -> None:
    order = shuffle(np.arange(count), count, seed=3, epoch=1)
    np.testing.assert_array_equal(np.sort(order), np.arange(count))


def test_any_place_can_be_computed_alone() -> None:
    order = shuffle(np.arange(1000), 1000, seed=0, epoch=0)
    places = np.array([999, 0, 500, 7])
    np.testing.assert_array_equal(shuffle(places, 1000, seed=0, epoch=0), order[places])
    big = shuffle(np.array([0, 10**12 - 1]), 10**12, seed=0, epoch=0)
    assert (big >= 0).all() and (big < 10**12).all() and big[0] != big[1]


def test_epochs_and_seeds_have_orders_of_their_own() -> None:
    orders = [
        shuffle(np.arange(500), 500, seed=seed, epoch=epoch)
        for seed, epoch in [(0, 0), (0, 1), (1, 0), (1, 1)]
    ]
    for number, left in enumerate(orders):
        for right in orders[:number]:
            assert np.mean(left == right) < 0.02


def test_the_order_is_as_good_as_random() -> None:
    """Over many epochs every window comes at every place equally often (chi-square)."""
    count, epochs = 20, 4000
    orders = np.stack([
        shuffle(np.arange(count), count, seed=9, epoch=epoch) for epoch in range(epochs)
    ])  # fmt: skip
    seen = np.stack([np.bincount(column, minlength=count) for column in orders.T])
    chi_square = ((seen - epochs / count) ** 2 / (epochs / count)).sum()
    freedom = (count - 1) ** 2
    assert abs(chi_square - freedom) < 5 * np.sqrt(2 * freedom)
    # And neighbours of the stream are no neighbours of the order.
    big = shuffle(np.arange(10_000), 10_000, seed=9, epoch=0)
    assert abs(np.corrcoef(big[:-1], big[1:])[0, 1]) < 0.05
    assert abs(np.corrcoef(np.arange(10_000), big)[0, 1]) < 0.05


def test_the_order_never_changes() -> None:
    """Runs that go on depend on it. If this fails the order has changed: old runs can't resume."""
    order = shuffle(np.arange(8), 8, seed=0, epoch=0)
    assert order.tolist() == [5, 7, 1, 6, 4, 0, 2, 3]
