"""The change of a tuned generator: numbers to add to its parameters, and their file.

The safetensors file has only the changed parameters. Its metadata has the SHA-256 of
the model's weights, because the numbers fit no other weights.
"""

import dataclasses
import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import numpy as np

from styleprompter_jax.core.atomic import atomic_path
from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.core.safetensors_files import (
    read_metadata,
    read_safetensors,
    write_safetensors,
)
from styleprompter_jax.core.sums import sha256
from styleprompter_jax.core.values import LARGEST_NUMBER, check_choice

SUFFIX = ".safetensors"
DTYPES = "float32", "float16"
_KIND = "change of a generator"  # in the metadata
_TEXTS = "model", "source", "origin"  # the fields that are texts there
_WORDS = {True: "yes", False: "no"}  # the values of "refined" there


class Stored(Mapping):
    """The numbers of a change, which are read when they are needed; a copy is a dict.

    Args:
        read: returns the numbers by key, and may forget them.
    """

    def __init__(self, read: Callable[[], Mapping[str, Any]]):
        self._read = read

    def __getitem__(self, key: str) -> Any:
        return self._read()[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._read())

    def __len__(self) -> int:
        return len(self._read())

    def __reduce__(self) -> tuple:
        return dict, (dict(self),)


@dataclasses.dataclass(frozen=True, eq=False)
class GeneratorChange:
    """Numbers to add to the parameters of a model's generator.

    Attributes:
        deltas: float32 or float16 arrays by the key of the generator's parameter, in
            its shape; unchanged parameters have none.
        model: SHA-256 of the model's weights, see `StylePrompter.sha256`.
        source: the name of the model, see `StylePrompter.source`; may be "".
        origin: a digest of the images and options of the tuning; may be "".
        refined: whether the tuning used the refiner (SMART), as its later rendering
            must; None if it is not known, as in older files.
    """

    deltas: Mapping[str, jax.Array | np.ndarray]
    model: str
    source: str = ""
    origin: str = ""
    refined: bool | None = None

    def __eq__(self, other: object) -> bool:
        """Returns whether both add the same numbers to the same model."""
        if not isinstance(other, GeneratorChange):
            return NotImplemented
        mine, others = self.deltas, other.deltas
        return (self.model, mine.keys()) == (other.model, others.keys()) and all(
            np.array_equal(delta, others[key]) for key, delta in mine.items()
        )

    __hash__ = object.__hash__

    def rounded(self, dtype: str) -> "GeneratorChange":
        """Converts the numbers to "float32" or "float16".

        Raises:
            StylePrompterError: for another dtype, or numbers beyond its range.
        """
        check_choice(dtype, "dtype", DTYPES)
        with np.errstate(over="ignore"):
            deltas = {k: np.asarray(d).astype(dtype) for k, d in self.deltas.items()}
        if not all(np.isfinite(delta).all() for delta in deltas.values()):
            raise StylePrompterError(
                f"The change of the generator has numbers beyond the range of {dtype}:"
                ' keep it in "float32", or tune with a smaller learning_rate.'
            )
        return dataclasses.replace(self, deltas=deltas)

    def save(self, path: str | os.PathLike) -> str:
        """Writes a safetensors file, whole or not at all.

        Returns:
            Its SHA-256.
        """
        metadata = {"kind": _KIND}
        metadata |= {k: getattr(self, k) for k in _TEXTS}
        if self.refined is not None:
            metadata["refined"] = _WORDS[self.refined]
        arrays = {k: np.asarray(d, order="C") for k, d in self.deltas.items()}
        with atomic_path(path) as partial:
            write_safetensors(partial, arrays, metadata)
            return sha256(partial)

    @classmethod
    def load(
        cls, path: str | os.PathLike, digest: str | None = None
    ) -> "GeneratorChange":
        """Reads a file of `save`.

        Args:
            path: of the file.
            digest: the SHA-256 that it must have; None for the one in the file.

        Raises:
            StylePrompterError: if it is missing, damaged or of another kind.
        """
        arrays, metadata = read_safetensors(path, digest)
        fields = _fields(path, metadata)
        for key, delta in arrays.items():
            if delta.dtype not in DTYPES:
                raise StylePrompterError(
                    f"{path} cannot be used, because {key} is {delta.dtype} instead of "
                    f"{' or '.join(DTYPES)}: tune the generator again."
                )
            ends = np.array([delta.min(initial=0), delta.max(initial=0)])
            if not np.abs(ends.astype(np.float32)).max() <= LARGEST_NUMBER:
                raise StylePrompterError(
                    f"{path} cannot be used, because {key} has numbers that are not "
                    f"finite, or beyond {LARGEST_NUMBER:.0e}: tune the generator again."
                )
        return cls(arrays, **fields)

    @classmethod
    def lazy(
        cls, path: str | os.PathLike, read: Callable[[], "GeneratorChange"]
    ) -> "GeneratorChange":
        """Reads only the metadata of a file of `save`; `read` returns the whole change.

        Raises:
            StylePrompterError: if the file is missing or of another kind.
        """
        fields = _fields(path, read_metadata(path))
        return cls(Stored(lambda: read().deltas), **fields)


def _fields(path: str | os.PathLike, metadata: Mapping[str, str]) -> dict[str, Any]:
    """Returns all fields of a change but the deltas, from the metadata of its file."""
    if metadata.get("kind") != _KIND or not metadata.get("model"):
        raise StylePrompterError(
            f"{path} is not a change of a generator: name a file that "
            "`styleprompter invert --tune` wrote."
        )
    known = {word: refined for refined, word in _WORDS.items()}
    texts: dict[str, Any] = {name: metadata.get(name, "") for name in _TEXTS}
    return texts | {"refined": known.get(metadata.get("refined", ""))}
