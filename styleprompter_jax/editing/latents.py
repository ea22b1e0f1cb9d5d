"""Latents of images: W+ codes, feature maps, and the changes of tuned generators."""

import dataclasses
import operator
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from styleprompter_jax.core.arrays import as_numbers
from styleprompter_jax.core.atomic import atomic_path
from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.core.paths import local_path
from styleprompter_jax.core.sums import sha256
from styleprompter_jax.core.values import shown
from styleprompter_jax.editing import latent_files
from styleprompter_jax.editing.directions import Direction, check_layers
from styleprompter_jax.editing.generator_change import SUFFIX, GeneratorChange


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Latents:
    """The latents of b images; a pytree, and a sequence of the latents of one image.

    Attributes:
        w_plus: float32 (b, n, w_dim), including the mean code.
        features: the encoder's maps (b, h, w, c), coarse to fine. () means that there
            are no maps; then the latents can be decoded only without SMART.
        changes: objects (b,): for each image the `GeneratorChange` of its generator, or
            None. None instead of an array means that no generator was tuned.
    """

    w_plus: jax.Array | np.ndarray
    features: tuple[jax.Array | np.ndarray, ...] = ()
    changes: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self._codes())

    def __eq__(self, other: object) -> bool:
        """Returns whether both have the same numbers, including the features."""
        if not isinstance(other, Latents):
            return NotImplemented
        mine, others = jax.tree.leaves(self), jax.tree.leaves(other)
        return len(mine) == len(others) and all(map(np.array_equal, mine, others))

    def __getitem__(self, index: Any) -> "Latents":
        """Returns the latents of one image (as a batch of 1) or of several.

        Args:
            index: a whole number, counted from the end if below 0; a slice; or a list
                or array of whole numbers, or of b booleans.

        Raises:
            StylePrompterError: for another index. If no such image exists, the error
                is an IndexError too.
        """
        codes = self._codes()
        rows = _rows(index, len(codes))
        for array in (*self.features, self.changes):
            _check_count(array, len(codes))
        whole = dataclasses.replace(self, w_plus=codes)
        return jax.tree.map(lambda array: array[rows], whole)

    def __iter__(self) -> Iterator["Latents"]:
        """Yields the latents of each image, as a batch of 1."""
        return (self[k] for k in range(len(self)))

    def _codes(self) -> jax.Array | np.ndarray:
        """Returns the codes as an array; they may be lists of numbers."""
        codes = self.w_plus
        if isinstance(codes, jax.Array | np.ndarray) and codes.ndim:
            return codes
        codes = as_numbers(codes, "The codes")
        if not codes.ndim:
            raise StylePrompterError("The codes are one number: pass (b, n, w_dim).")
        return codes

    def changed(self, change: GeneratorChange | None) -> "Latents":
        """Returns the same latents for one changed generator, or for the original."""
        changes = np.full(len(self), None)
        changes[:] = change
        return dataclasses.replace(self, changes=changes)

    def by_change(self) -> list[tuple[slice | np.ndarray, GeneratorChange | None]]:
        """Returns groups of rows that share a generator, with its change.

        Raises:
            StylePrompterError: if there is not one change for each image.
        """
        _check_count(self.changes, len(self))
        if self.changes is None:
            return [(slice(None), None)]
        # A generator that several images share is one object.
        known = {id(change): change for change in self.changes}
        ids = np.array([id(change) for change in self.changes])
        return [(np.flatnonzero(ids == k), change) for k, change in known.items()]

    def edit(
        self,
        direction: Direction | np.ndarray,
        strength: float | np.ndarray | None = None,
        layers: Sequence[int] | None = None,
    ) -> "Latents":
        """Moves the codes by ``strength * direction``; the features do not change.

        The result of NumPy codes is a NumPy array, and JAX codes stay on their device.

        Args:
            direction: one of a model's `directions`, or an array (w_dim,) or
                (n, w_dim).
            strength: one number, or (b,); by default the strength of the direction.
            layers: indices of the codes to change; by default the layers of the
                direction. For an array, these are all codes.

        Raises:
            StylePrompterError: if a shape or an index does not fit the codes.
        """
        codes = as_numbers(self.w_plus, "The codes")
        if codes.ndim != 3:
            raise StylePrompterError(
                f"The codes have the shape {codes.shape}: it must be (b, n, w_dim)."
            )
        batch, n, w_dim = codes.shape
        if isinstance(direction, str):
            raise StylePrompterError(
                f"The direction is the name {shown(direction)}: give the direction "
                "itself, as in model.directions[name]."
            )
        if not isinstance(direction, Direction):
            vector = as_numbers(direction, "The direction's numbers")
            if vector.ndim not in (1, 2):
                raise StylePrompterError(
                    f"The direction has the shape {vector.shape}: for these codes, it "
                    f"must be ({w_dim},) or ({n}, {w_dim})."
                )
            direction = Direction(np.asarray(vector))
        shape, response = direction.vector.shape, direction.response
        if shape not in ((w_dim,), (n, w_dim)) or (
            response is not None and response.reads.shape[1:] != (n, w_dim)
        ):
            raise StylePrompterError(
                f"The direction has the shape {list(shape)}, but the codes have "
                f"[{n}, {w_dim}]: use a direction of the same model."
            )
        strength = direction.strength if strength is None else strength
        strengths = as_numbers(strength, "The strengths")
        if strengths.shape not in ((), (batch,)):
            raise StylePrompterError(
                f"The strength has the shape {list(strengths.shape)} for {batch} "
                "images: give one number, or one for each image."
            )
        layers = check_layers(direction.layers if layers is None else layers, n)
        step = strengths.reshape(-1, 1, 1) * direction.step(codes, layers)
        return dataclasses.replace(self, w_plus=codes + step)

    def save(
        self,
        path: str | os.PathLike,
        *,
        features: bool = False,
        names: Sequence[str] | None = None,
        source: str = "",
        dtype: str = "float32",
        changes: Sequence[Path] | None = None,
        images: Sequence[str] | None = None,
        generator: str = "",
    ) -> None:
        """Writes an .npz with w_plus.

        The changes of generators go into files beside it: NAME.safetensors, or
        NAME_0.safetensors and so on for several.

        Args:
            path: the file; its name ends in .npz.
            features: write the features too.
            names: b names of the images to write too.
            source: the model of the latents, see `StylePrompter.source`; written too.
            dtype: of the changes, "float32" or "float16".
            changes: existing files with the change of each image, in the folder of the
                .npz or below; no others are written.
            images: the SHA-256 of b image files to write too. `evaluate` and `compare`
                refuse latents of other images.
            generator: `StylePrompter.generator_sha256` to write too. The commands warn
                of latents of another generator.

        Raises:
            StylePrompterError: if the name does not end in .npz, the file cannot be
                written, the numbers of codes, features, names and images differ, or
                `load_named` would refuse the names.
        """
        path = local_path(path)
        if path.suffix.lower() != ".npz":
            raise StylePrompterError(
                f"{path} must end in .npz, the format of latents: rename it."
            )
        arrays = {"w_plus": np.asarray(as_numbers(self.w_plus, "The codes"))}
        if features:
            for k, array in enumerate(self.features):
                maps = as_numbers(array, "The features")
                arrays[f"features_{k}"] = np.asarray(maps)
        if names is not None:
            arrays["names"] = np.asarray(_names(names))
            latent_files.check_names(path, names)
        if images is not None:
            arrays["image_sha256"] = np.asarray(_names(images))
        shapes = {key: array.shape for key, array in arrays.items()}
        batch = shapes["w_plus"][:1]
        if len(shapes["w_plus"]) != 3 or any(s[:1] != batch for s in shapes.values()):
            raise StylePrompterError(
                f"{path} was not written, because its arrays have the shapes {shapes}: "
                "w_plus must be (b, n, w_dim), and all others must have b entries."
            )
        if source:
            arrays["source"] = np.asarray(source)
        if generator:
            arrays["generator_sha256"] = np.asarray(generator)
        if changes is not None:
            sums = {file: sha256(file) for file in dict.fromkeys(changes)}
            arrays["generators"] = np.array([
                (file.relative_to(path.parent).as_posix(), sums[file])
                for file in changes
            ])  # fmt: skip
        elif self.changes is not None:
            arrays["generators"] = self._save_changes(path, dtype)
        with atomic_path(path) as partial, partial.open("wb") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]  # none is allow_pickle

    def _save_changes(self, path: Path, dtype: str) -> np.ndarray:
        """Writes the changes; returns (b, 2): each image's file and its SHA-256."""
        groups = self.by_change()
        rows = np.full((len(self), 2), "", object)
        for k, (chosen, change) in enumerate(groups):
            if change is not None:
                end = SUFFIX if len(groups) == 1 else f"_{k}{SUFFIX}"
                file = path.with_name(path.stem + end)
                rows[chosen] = file.name, change.rounded(dtype).save(file)
        return rows.astype(str)

    @classmethod
    def load(cls, path: str | os.PathLike) -> "Latents":
        """Reads a file of `save`: w_plus (b, n, w_dim), or (n, w_dim) of one image.

        It also reads an .npz or .npy with one array (b, n, w_dim) under any name.

        Raises:
            StylePrompterError: if the file is missing, damaged or of another kind.
        """
        w_plus, features, changes, _ = latent_files.read(path)
        return cls(w_plus, features, changes)


def _check_count(array: Any, count: int) -> None:
    """Refuses maps or changes of another number of images; None is always right."""
    if array is not None and np.shape(array)[:1] != (count,):
        raise StylePrompterError(
            f"The latents have {count} codes, but a map or changes of the shape "
            f"{list(np.shape(array))}: give all of them the same number of images."
        )


def _names(names: Sequence[str]) -> list[str]:
    found = list(names) if isinstance(names, Iterable) else [names]
    if isinstance(names, str) or not all(isinstance(name, str) for name in found):
        raise StylePrompterError(
            f"The names are {shown(names)}: give a list of strings, one for each image."
        )
    return found


class _NoSuchImageError(StylePrompterError, IndexError):
    """Ends a loop over indices, as IndexError does for other sequences."""


def _rows(index: Any, count: int) -> slice | np.ndarray:
    """Returns the rows (m,) among `count` images that an index selects."""
    try:
        if isinstance(index, slice):
            index.indices(count)
            return index
        rows = _numbers(index, count)
    except (TypeError, ValueError) as error:
        raise StylePrompterError(
            f"{shown(index)} is not an index of latents: give a whole number, a "
            f"slice, or a list of whole numbers or of {count} booleans."
        ) from error
    if beyond := [k for k in rows if not -count <= k < count]:
        raise _NoSuchImageError(
            f"There is no image {beyond[0]} among {count} images: correct the index."
        )
    return np.array(rows, int)


def _numbers(index: Any, count: int) -> list[int]:
    """Returns the whole numbers of an index that is not a slice.

    Raises:
        TypeError, ValueError: for another index.
    """
    if isinstance(index, bool | np.bool | tuple):  # a tuple would index several axes
        raise TypeError
    if hasattr(index, "__index__") and not np.ndim(index):
        return [operator.index(index)]
    rows = np.asarray(index)
    if rows.dtype != bool and isinstance(index, list) and bool in map(type, index):
        raise TypeError  # NumPy takes True among whole numbers for 1
    if rows.shape == (count,) and rows.dtype == bool:
        return np.flatnonzero(rows).tolist()
    if rows.ndim != 1 or (len(rows) and rows.dtype.kind not in "iu"):
        raise TypeError
    return rows.tolist()


def space_of(w_plus: Any) -> str:
    """Returns "W" if each image has one code for all layers, and "W+" otherwise.

    Args:
        w_plus: (b, n, w_dim).
    """
    codes = np.asarray(w_plus)
    return "W" if (codes == codes[:, :1]).all() else "W+"


def concatenate(parts: Sequence[Latents]) -> Latents:
    """Joins the latents of several batches, as NumPy arrays."""
    if any(part.changes is not None for part in parts):  # others have the original
        parts = [p if p.changes is not None else p.changed(None) for p in parts]
    return jax.tree.map(lambda *arrays: np.concatenate(arrays), *parts)


def load_named(
    path: str | os.PathLike, lazy: bool = False
) -> tuple[Latents, list[str]]:
    """Reads latents like `Latents.load`, with the names of the images.

    A file without names gives the names "0000", "0001", ...

    Args:
        path: the file.
        lazy: read the change of a generator whenever a call needs it, because the
            changes of many images may not fit into memory. Their files must then stay
            as they are.

    Raises:
        StylePrompterError: like `Latents.load`, or if a name is not a relative path
            inside a folder, or two images have the same name.
    """
    w_plus, features, changes, names = latent_files.read(path, lazy)
    latent_files.check_names(path, names)
    return Latents(w_plus, features, changes), names
