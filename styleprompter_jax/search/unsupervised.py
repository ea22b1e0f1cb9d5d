"""Directions that a generator has by itself, without labels.

Axes: ``n`` codes, ``w_dim`` channels of a code, ``m`` samples, ``k`` directions,
``c`` styles of a layer.
"""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.editing.directions import Direction


def sefa(kernels: Sequence[np.ndarray], count: int) -> np.ndarray:
    """The directions that change styles most (Shen & Zhou 2021, arXiv 2007.06600).

    Eigenvectors of A Aᵀ, where the columns of A are the affine layers' weights for one
    style each, at length 1.

    Args:
        kernels: the affine layers of some codes, (w_dim, c) each.
        count: k, how many directions, strongest first.

    Returns:
        float64 (k, w_dim), orthonormal.

    Raises:
        StylePrompterError: if k is larger than w_dim.
    """
    columns = np.concatenate(kernels, axis=1).astype(np.float64)
    norms = np.linalg.norm(columns, axis=0, keepdims=True)
    columns = columns / np.where(norms > 0, norms, 1)
    return _leading(columns @ columns.T, count)


def pca(w: np.ndarray, count: int) -> np.ndarray:
    """Principal components of sampled codes (GANSpace, Härkönen et al. 2020).

    Args:
        w: (m, w_dim), codes of the mapping network.
        count: k, how many components, that of most variance first.

    Returns:
        float64 (k, w_dim), orthonormal.

    Raises:
        StylePrompterError: if k is larger than w_dim, or than m - 1, beyond which
            components are chance.
    """
    if count >= len(w):
        raise StylePrompterError(
            f"{count} components of {len(w)} samples are chance: give {count + 1} "
            "samples or more."
        )
    return _leading(np.cov(w.astype(np.float64), rowvar=False), count)


def in_deviations(w: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """Vectors (k, w_dim), each as long as the standard deviation of w along it.

    A strength of 2 along one is as unusual as a sample two standard deviations away.

    Raises:
        StylePrompterError: if there are fewer than 2 samples.
    """
    if len(w) < 2:
        raise StylePrompterError("One sample deviates from nothing: give 2 or more.")
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit * np.std(w @ unit.T, axis=0)[:, None]


def orthogonalize(
    direction: Direction, others: Mapping[str, Direction], num_codes: int
) -> Direction:
    """A direction without what it shares with the vectors of others, code by code.

    Args:
        direction: what to change.
        others: named directions; each counts in the codes that it changes.
        num_codes: n.

    Returns:
        The direction, whose vector is (w_dim,) if all are, else (n, w_dim).

    Raises:
        StylePrompterError: if the others leave nothing of it.
    """
    vectors = direction.per_code(num_codes).astype(np.float64)
    spanned = [other.per_code(num_codes) for other in others.values()]
    span = np.stack(spanned, 2).astype(np.float64)
    # A basis of the span at each code, without what is no more than rounding.
    u, values, _ = np.linalg.svd(span, full_matrices=False)
    u = u * (values > 1e-6 * values.max(-1, keepdims=True))[:, None]

    def without(x: np.ndarray) -> np.ndarray:
        return x - np.einsum("nwk,nvk,...nv->...nw", u, u, x)

    left, response = without(vectors), direction.response
    if np.linalg.norm(left) < 1e-3 * np.linalg.norm(vectors):
        raise StylePrompterError(
            f"A direction is nothing but {', '.join(others)}: name others to be "
            "orthogonal to."
        )
    everywhere = all(
        d.vector.ndim == 1 and d.layers is None for d in (direction, *others.values())
    )
    if response is not None:
        response = dataclasses.replace(response, writes=without(response.writes))
    origin = f"{direction.origin}, orthogonal to {', '.join(others)}"
    return dataclasses.replace(
        direction,
        vector=left[0] if everywhere else left,
        origin=origin.removeprefix(", "),
        response=response,
    )


def _leading(matrix: np.ndarray, count: int) -> np.ndarray:
    """Eigenvectors (k, w_dim) of a symmetric matrix, the largest first."""
    if count > len(matrix):
        raise StylePrompterError(
            f"{count} directions are more than a code has channels ({len(matrix)})."
        )
    vectors = np.linalg.eigh(matrix)[1].T[::-1][:count]
    # Which of the two signs comes out is chance: make the largest entry positive.
    largest = np.take_along_axis(
        vectors, np.abs(vectors).argmax(1, keepdims=True), axis=1
    )
    return vectors * np.sign(largest)
