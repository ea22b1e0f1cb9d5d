"""Stored latents of the images that `evaluate` and `compare` measure."""

from collections.abc import Iterable, Iterator
from typing import Any

from styleprompter_jax.app.compared import Compared
from styleprompter_jax.app.decoding import Decoding
from styleprompter_jax.app.pictures import load_checked
from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.core.fetch import local_copy
from styleprompter_jax.core.paths import AnyPath
from styleprompter_jax.core.sums import sha256
from styleprompter_jax.editing.latent_files import image_sums
from styleprompter_jax.editing.latents import Latents
from styleprompter_jax.evaluation import protocol
from styleprompter_jax.inversion.pipeline import StylePrompter


def stored_latents(
    file: AnyPath,
    model: StylePrompter,
    images: Compared,
    decoding: Decoding = Decoding(),
) -> Latents:
    """Returns the latents of images from a file of `invert`, in their order.

    It finds them by the names that `invert` gives to images. These depend on the given
    folder, so it also compares the SHA-256 of the images, which files of older versions
    lack. Latents of other images may be in the file.

    Raises:
        StylePrompterError: if the file cannot be read, belongs to another model, lacks
            an image, or has another image of the same name, or if the images come from
            a dataset.
    """
    latents, names = load_checked(file, model, decoding)
    if not images.paths:
        raise StylePrompterError(
            f"The latents of {file} are found by the names of images, which a dataset "
            "does not have: give the images with --input."
        )
    rows, sums = {name: k for k, name in enumerate(names)}, image_sums(file)
    for name, path in zip(images.keys, images.paths, strict=True):
        if name not in rows:
            raise StylePrompterError(
                f"{file} has no latents of {path}, which would have the name {name!r}: "
                "give the same --input as to `invert`."
            )
        if sums is not None and sums[rows[name]] != sha256(path):
            raise StylePrompterError(
                f"The latents of {name!r} in {file} are not of {path}, but of another "
                "image: give the same --input as to `invert`, or invert again."
            )
    return latents[[rows[name] for name in images.keys]]


def check_not_given(iterations: int | None) -> None:
    """Refuses passes of an encoder where stored codes are measured without a refiner.

    A refiner reads maps of the images, which the encoder makes in its passes.
    """
    if iterations is not None:
        raise StylePrompterError(
            "Iterations (--iterations) are for an encoder, but the codes come from "
            "files of latents: leave them out."
        )


def described(file: AnyPath | None) -> dict[str, str] | None:
    """Returns the file of latents and its SHA-256, for a protocol."""
    if file is None:
        return None
    return {"file": str(file), "sha256": protocol.sha256(local_copy(file))}


def with_latents(batches: Iterable[dict], latents: Latents | None) -> Iterator[dict]:
    """Yields batches with the key "latents"; unchanged batches if latents is None."""
    done = 0
    for batch in batches:
        count = len(batch["image"])
        found: dict[str, Any] = {}
        if latents is not None:
            found["latents"] = latents[done : done + count]
        done += count
        yield batch | found
