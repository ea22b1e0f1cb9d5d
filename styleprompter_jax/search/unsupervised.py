"""Finds directions of a generator without labels.

Axes: ``n`` codes, ``w_dim`` channels of a code, ``m`` samples, ``k`` directions,
``c`` styles of a layer.
"""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.editing.directions import Direction


def sefa(kernels: Sequence[np.ndarray], count: int) -> np.ndarray:
    """Finds the directions that change styles most (SeFa, Shen & Zhou 2021).

    They are eigenvectors of A Aᵀ. Each column of A has the affine weights of one style,
    scaled to length 1. See arXiv 2007.06600.

    Args:
        kernels: affine layers of some codes, (w_dim, c) each.
        count: k, the number of directions; the strongest come first.

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
    """Computes principal components of sampled codes (GANSpace, Härkönen et al. 2020).

    Args:
        w: (m, w_dim), codes of the mapping network.
        count: k, the number of components; those with the most variance come first.

    Returns:
        float64 (k, w_dim), orthonormal.

    Raises:
        StylePrompterError: if k is larger than w_dim, or than m - 1; more components
            would be random.
    """
    if count >= len(w):
        raise StylePrompterError(
            f"{len(w)} samples are too few for {count} components: give {count + 1} "
            "samples (--count) or more, or fewer components (--components)."
        )
    return _leading(np.cov(w.astype(np.float64), rowvar=False), count)


def in_deviations(w: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """Scales vectors (k, w_dim) to the standard deviations of w along them.

    A strength of 2 is then as unusual as a sample two standard deviations away.

    Raises:
        StylePrompterError: if there are fewer than 2 samples.
    """
    if len(w) < 2:
        raise StylePrompterError(
            "One sample has no standard deviation: give 2 samples (--count) or more."
        )
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit * np.std(w @ unit.T, axis=0)[:, None]


def orthogonalize_all(
    found: Mapping[str, Direction], others: Mapping[str, Direction], num_codes: int
) -> dict[str, Direction]:
    """Makes new directions orthogonal to others; see `orthogonalize`.

    Args:
        found: new directions by name. One with the name of another direction is its
            next version: the function leaves it out.
        others: directions by name.
        num_codes: n.

    Raises:
        StylePrompterError: if no new direction is left, or one lies in the span of the
            others.
    """
    new = {name: one for name, one in found.items() if name not in others}
    if not new:
        raise StylePrompterError(
            f"The new directions are {', '.join(found)}, and --orthogonal-to names all "
            "of them: leave one out."
        )
    return {name: orthogonalize(one, others, num_codes) for name, one in new.items()}


def orthogonalize(
    direction: Direction, others: Mapping[str, Direction], num_codes: int
) -> Direction:
    """Makes a direction orthogonal to the vectors of others, in each code.

    Args:
        direction: the direction to change.
        others: directions by name; each counts only in the codes that it changes.
        num_codes: n.

    Returns:
        The direction; its vector is (w_dim,) if all vectors are, and otherwise
        (n, w_dim).

    Raises:
        StylePrompterError: if the direction lies in the span of the others.
    """
    vectors = direction.per_code(num_codes).astype(np.float64)
    spanned = [other.per_code(num_codes) for other in others.values()]
    span = np.stack(spanned, 2).astype(np.float64)
    # A basis of the span at each code. Small singular values are rounding errors.
    u, values, _ = np.linalg.svd(span, full_matrices=False)
    u = u * (values > 1e-6 * values.max(-1, keepdims=True))[:, None]

    def without(x: np.ndarray) -> np.ndarray:
        return x - np.einsum("nwk,nvk,...nv->...nw", u, u, x)

    left, response = without(vectors), direction.response
    if np.linalg.norm(left) < 1e-3 * np.linalg.norm(vectors):
        raise StylePrompterError(
            f"A new direction lies in the span of {', '.join(others)}: name other "
            "directions with --orthogonal-to."
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
    """Returns eigenvectors (k, w_dim) of a symmetric matrix, largest values first."""
    if count > len(matrix):
        raise StylePrompterError(
            f"{count} directions are more than the {len(matrix)} channels of a code: "
            f"ask for at most {len(matrix)} (--components)."
        )
    vectors = np.linalg.eigh(matrix)[1].T[::-1][:count]
    # The sign of an eigenvector is arbitrary: make the largest entry positive.
    largest = np.take_along_axis(
        vectors, np.abs(vectors).argmax(1, keepdims=True), axis=1
    )
    return vectors * np.sign(largest)
