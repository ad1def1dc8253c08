"""Overlapping areas of sets that are known to be alike or apart."""

import numpy as np
import pytest

from jaxmusic.evaluation.music.overlap import overlapping_area, shared_mass

RNG = np.random.default_rng(0)


def test_sets_of_one_distribution_overlap_and_shifted_ones_less() -> None:
    reference = RNG.normal(size=200)
    areas = [overlapping_area(reference, RNG.normal(shift, size=150)) for shift in (0, 1, 3, 20)]
    assert areas[0] > 0.93
    assert areas == sorted(areas, reverse=True)
    assert areas[-1] < 0.01


def test_against_sums_over_all_pairs() -> None:
    """The densities with a Gaussian at each distance, on a grid of their own."""
    reference, other = RNG.normal(size=(30, 3)), RNG.normal(0.7, 1, size=(20, 3))
    inside = np.array(
        [np.linalg.norm(reference[i] - reference[j]) for i in range(30) for j in range(i)]
    )
    between = np.array([np.linalg.norm(a - b) for a in reference for b in other])
    grid = np.linspace(-10, 20, 6001)

    width = max(each.std() * len(each) ** -0.2 for each in (inside, between))

    def density(distances: np.ndarray) -> np.ndarray:
        each = np.exp(-0.5 * ((grid[:, None] - distances) / width) ** 2)
        return np.asarray(each.sum(axis=1) / (len(distances) * width * np.sqrt(2 * np.pi)))

    expected = np.minimum(density(inside), density(between)).sum() * (grid[1] - grid[0])
    assert overlapping_area(reference, other) == pytest.approx(expected, abs=0.01)


def test_equal_pieces_overlap_wholly() -> None:
    assert overlapping_area(np.ones(5), np.ones(3)) == 1
    assert overlapping_area(np.ones(5), np.full(3, 2.0)) < 0.01


def test_an_outlier_costs_no_more_than_its_share() -> None:
    assert overlapping_area(np.zeros(30), np.append(np.zeros(19), 1.0)) == pytest.approx(
        0.95, abs=0.01
    )


def test_too_few_pieces_have_no_area() -> None:
    assert np.isnan(overlapping_area(np.array([1.0, np.nan]), np.ones(3)))
    assert np.isnan(overlapping_area(np.ones(3), np.array([np.nan])))
    assert np.isnan(overlapping_area(np.ones(3), np.array([])))


def test_the_shared_mass_of_histograms() -> None:
    assert shared_mass(np.array([2.0, 2, 0]), np.array([1.0, 0, 1])) == pytest.approx(0.5)
    assert np.isnan(shared_mass(np.zeros(3), np.ones(3)))
