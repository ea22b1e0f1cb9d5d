"""Regression on the principal components of codes.

Axes: m codes, n codes of an image, k principal components, r rank of a response.
"""

from typing import NamedTuple

import numpy as np

from styleprompter_jax.editing.directions import Response

COMPONENTS = 64  # the largest number of components


class Components(NamedTuple):
    """Codes (m, n, w_dim) in their principal components.

    Attributes:
        center: the mean code (n, w_dim).
        scores: (m, k), with variance 1.
        axes: (k, n, w_dim), the step of one deviation along each component.
    """

    center: np.ndarray
    scores: np.ndarray
    axes: np.ndarray

    def response(
        self, reads: np.ndarray, offsets: np.ndarray, writes: np.ndarray
    ) -> Response:
        """Returns the response to codes of a response to scores.

        Args:
            reads: (r, k), the vectors that scores are projected on.
            offsets: (r,), subtracted from the projections.
            writes: (r, n, w_dim).
        """
        power = np.square(self.axes).sum((1, 2), keepdims=True)
        of_codes = np.einsum("rk,knw->rnw", reads, self.axes / power)
        offsets = offsets + np.einsum("rnw,nw->r", of_codes, self.center)
        return Response(of_codes, offsets, writes)


def principal(codes: np.ndarray) -> Components:
    """Finds the principal components of codes (m, n, w_dim)."""
    m, *shape = codes.shape
    flat = codes.reshape(m, -1).astype(np.float64)
    center = flat.mean(0)
    scores, scales, axes = np.linalg.svd(flat - center, full_matrices=False)
    # At most one component for every ten samples, to avoid overfitting.
    count = min(COMPONENTS, m // 10, np.sum(scales > 1e-6 * scales[0]))
    deviations = scales[:count] / np.sqrt(m)
    axes = axes[:count] * deviations[:, None]
    return Components(
        center.reshape(shape),
        np.sqrt(m) * scores[:, :count],
        axes.reshape(-1, *shape),
    )


def regressed(
    scores: np.ndarray, change: np.ndarray, rank: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Computes a reduced-rank regression of changes on scores.

    Args:
        scores: (m, k).
        change: (m, d).
        rank: largest rank of the map from scores to changes.

    Returns:
        The mean change (d,), and of the map reads (r, k), offsets (r,), which are the
        reads of the mean score, and writes (r, d).
    """
    vector, mean = change.mean(0), scores.mean(0)
    slopes = np.linalg.pinv(scores - mean) @ (change - vector)
    left, weights, writes = np.linalg.svd(slopes, full_matrices=False)
    rank = min(rank, len(weights))
    reads = left[:, :rank].T
    return vector, reads, reads @ mean, weights[:rank, None] * writes[:rank]
