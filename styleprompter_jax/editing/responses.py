"""How an edit depends on the codes of its image.

Axes: ``b`` images, ``n`` codes, ``w_dim`` channels of a code, ``r`` rank of a response.
"""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from styleprompter_jax.core.arrays import as_numbers
from styleprompter_jax.core.errors import StylePrompterError


@dataclasses.dataclass(frozen=True, eq=False)
class Response:
    """The dependence of an edit on the codes: a linear map of low rank.

    It adds ``sum_r (<reads_r, codes> - offsets_r) writes_r`` to a direction's vector.
    So the step from black hair to red hair can differ from the step from blond hair.

    Attributes:
        reads: float32 (r, n, w_dim), the vectors that codes are projected on.
        offsets: (r,), the projections of codes that need only the vector.
        writes: (r, n, w_dim), the step for each projection.

    Raises:
        StylePrompterError: if a shape is wrong or a number is not finite.
    """

    reads: np.ndarray
    offsets: np.ndarray
    writes: np.ndarray

    def __post_init__(self) -> None:
        arrays = {
            field.name: np.asarray(
                as_numbers(getattr(self, field.name), f"A response's {field.name}")
            )
            for field in dataclasses.fields(self)
        }
        reads, offsets, writes = shapes = [array.shape for array in arrays.values()]
        if len(reads) != 3 or reads != writes or offsets != reads[:1]:
            raise StylePrompterError(
                "The shapes of a response must be [r, n, w_dim], [r] and "
                "[r, n, w_dim], not "
                f"{', '.join(str(list(shape)) for shape in shapes)}."
            )
        if not all(np.isfinite(array).all() for array in arrays.values()):
            raise StylePrompterError(
                "A response contains NaN or infinity: give finite numbers."
            )
        for name, array in arrays.items():
            object.__setattr__(self, name, array)

    def read(self, codes: jax.Array | np.ndarray) -> jax.Array | np.ndarray:
        """Computes the projections (b, r) of codes (b, n, w_dim), minus the offsets."""
        project = _project_by_jax if isinstance(codes, jax.Array) else _project
        return project(self.reads, self.offsets, codes)

    def __call__(self, codes: jax.Array | np.ndarray) -> jax.Array | np.ndarray:
        """Computes the term (b, n, w_dim) that is added to the vector, from codes."""
        respond = _respond_by_jax if isinstance(codes, jax.Array) else _respond
        return respond(self.reads, self.offsets, self.writes, codes)


def _project(reads: Any, offsets: Any, codes: Any, xp: Any = np) -> Any:
    return xp.einsum("rnw,bnw->br", reads, codes) - offsets


def _respond(reads: Any, offsets: Any, writes: Any, codes: Any, xp: Any = np) -> Any:
    projections = _project(reads, offsets, codes, xp)
    return xp.einsum("br,rnw->bnw", projections, writes)


# Each is one program, because dispatch costs more than this arithmetic. For the same
# reason, NumPy codes do not go to JAX at all.
_project_by_jax = jax.jit(functools.partial(_project, xp=jnp))
_respond_by_jax = jax.jit(functools.partial(_respond, xp=jnp))
