"""How much two sets of pieces overlap in a statistic.

The overlapping area is that of Yang and Lerch 2020, "On the evaluation of generative models in
music": of the distances inside one set, and those between the sets. Both densities are estimated on
one support and with one bandwidth here. (With a support for each, areas of different sets can't be
compared; with a bandwidth for each, a few outliers smooth one density and not the other.)
"""

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

BINS = 1024  # of the support
NARROWEST = 4  # bins: the least bandwidth, so that equal distances have a density too
MOST_PIECES = 400  # of a set, evenly chosen: distances grow with the square


def overlapping_area(reference: Floats, other: Floats) -> float:
    """Overlapping area of the distances inside `reference` and those from it to `other`, 0 to 1.

    Args:
        reference: (pieces,) or (pieces, features). Rows with NaN are left out.
        other: of another set of pieces, likewise.

    Returns:
        NaN with fewer than two pieces of reference or without others.
    """
    reference, other = _usable(reference), _usable(other)
    if len(reference) < 2 or len(other) == 0:
        return np.nan
    rows, columns = np.triu_indices(len(reference), k=1)
    inside = _distances(reference, reference)[rows, columns]
    between = _distances(reference, other).ravel()
    most = max(inside.max(), between.max())
    if most == 0:
        return 1.0
    # Scott's bandwidth (Scott 1992): the standard deviation times n to the power of -1/5.
    bandwidth = max(each.std() * len(each) ** -0.2 for each in (inside, between))
    densities = [_density(each, most, float(bandwidth)) for each in (inside, between)]
    return float(np.minimum(*densities).sum())


def shared_mass(counts: Floats, others: Floats) -> float:
    """What two pooled histograms share, 0 to 1: the sum of the smaller shares of each bin."""
    if counts.sum() == 0 or others.sum() == 0:
        return np.nan
    return float(np.minimum(counts / counts.sum(), others / others.sum()).sum())


def _usable(values: Floats) -> Floats:
    rows = values[:, None] if values.ndim == 1 else values
    rows = rows[~np.isnan(rows).any(axis=1)]
    if len(rows) > MOST_PIECES:
        rows = rows[np.linspace(0, len(rows) - 1, MOST_PIECES).astype(np.int64)]
    return rows


def _distances(first: Floats, second: Floats) -> Floats:
    """Euclidean distances between all pairs of rows: (first, second)."""
    if first.shape[1] == 1:
        return np.abs(first - second.T)
    squares = (first**2).sum(1)[:, None] + (second**2).sum(1) - 2 * first @ second.T
    squares[squares < 1e-12] = 0  # rounding, of equal rows
    return np.asarray(np.sqrt(squares), np.float64)


def _density(distances: Floats, most: float, bandwidth: float) -> Floats:
    """Mass of a Gaussian kernel density estimate in the bins of a support around [0, most]."""
    margin = 0.5 * most  # for what the kernel spreads beyond the ends
    width = (most + 2 * margin) / BINS
    counts, _ = np.histogram(distances, np.linspace(-margin, most + margin, BINS + 1))
    reach = np.arange(-BINS, BINS + 1) * width
    kernel = np.exp(-0.5 * (reach / max(bandwidth, NARROWEST * width)) ** 2)
    spread = np.convolve(counts, kernel)[BINS : 2 * BINS]  # the kernel's middle is at BINS
    return np.asarray(spread / spread.sum(), np.float64)
