"""Kernel distance between two sets of images (KID, Bińkowski et al. 2018)."""

import numpy as np
from numpy.typing import ArrayLike

BLOCK = 1000  # features in an estimate, as in the published code


def kernel_distance(a: ArrayLike, b: ArrayLike, block: int = BLOCK) -> float:
    """Computes the squared maximum mean discrepancy, with the kernel (x·y / d + 1)³.

    The estimate is unbiased, so it may be slightly below 0 for similar sets. Sets
    larger than `block` are split into blocks in their order, and the result is the mean
    of the estimates. So the same call gives the same number; the published form draws
    random subsets.

    Args:
        a: features (n, d), with 2 rows or more.
        b: features (m, d), with 2 rows or more.
        block: largest number of rows of a set in one estimate.
    """
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    count = -(-max(len(a), len(b)) // block)
    count = min(count, len(a) // 2, len(b) // 2)
    parts = zip(np.array_split(a, count), np.array_split(b, count), strict=True)
    return float(np.mean([_estimate(*part) for part in parts]))


def _estimate(a: np.ndarray, b: np.ndarray) -> float:
    return _among(a) + _among(b) - 2 * _kernel(a, b).mean()


def _among(a: np.ndarray) -> float:
    """Computes the mean of the kernel over pairs of different rows."""
    n, values = len(a), _kernel(a, a)
    return (values.sum() - np.trace(values)) / (n * (n - 1))


def _kernel(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return (a @ b.T / a.shape[1] + 1) ** 3
