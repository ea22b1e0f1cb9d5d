"""Crops faces from photographs as FFHQ does, with landmarks."""

import json
import logging
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from styleprompter_jax.app.pictures import (
    Made,
    each,
    find_pictures,
    folders_of,
    list_inputs,
)
from styleprompter_jax.core.atomic import write_text
from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.core.outbox import to_bucket
from styleprompter_jax.core.paths import AnyPath, local_path
from styleprompter_jax.core.results import Results
from styleprompter_jax.core.spelling import another_spelling
from styleprompter_jax.core.sums import sha256
from styleprompter_jax.core.values import plural, whole
from styleprompter_jax.images import align as crops
from styleprompter_jax.images import detect
from styleprompter_jax.images.files import open_image, write_image
from styleprompter_jax.images.find import shown
from styleprompter_jax.images.landmarks import Landmarks, read_landmarks
from styleprompter_jax.images.read_once import ReadOnce

log = logging.getLogger(__name__)


@to_bucket("output")
def align(
    inputs: Sequence[AnyPath],
    output: AnyPath,
    *,
    landmarks: AnyPath | None = None,
    size: int = 1024,
    skip_bad: bool = False,
    overwrite: bool = False,
) -> Made:
    """Crops faces from photographs, and stores the position of each crop beside it.

    Args:
        inputs: files, folders and globs.
        output: folder of the crops.
        landmarks: a file of landmarks, see `read_landmarks`; None detects the largest
            face.
        size: side of the crops in pixels, at most 4096.
        skip_bad: skip images that cannot be read or have no face, with a warning for
            each.
        overwrite: replace files that this program did not write.

    Raises:
        StylePrompterError: if an image or its landmarks cannot be read, no face is
            found, or a crop cannot be written.
    """
    folder, size = local_path(output), whole(size, "size (--size)", 1, crops.LARGEST)
    given = None
    named: list[str] = []
    quads: dict[Path, np.ndarray] = {}
    sums: dict[Path, str] = {}
    doubtful: list[Path] = []
    if landmarks:
        photos = list_inputs(inputs, folder)
        given, named = read_landmarks(landmarks, photos, folders_of(inputs))
    else:
        detect.network()  # fails at once if the detector is missing

    def crop(path: Path) -> tuple[np.ndarray, tuple[int, int]]:
        with open_image(path) as photo:
            width_and_height = photo.shape[1::-1]
            if path not in quads:  # false if `ReadOnce` reads the image a second time
                quads[path], is_doubtful = _quad(path, photo, given, named, landmarks)
                doubtful.extend([path] * is_doubtful)
                sums[path] = sha256(path)
            return crops.align(photo, quads[path], size), width_and_height

    read = ReadOnce(crop)
    paths, results, skipped = find_pictures(inputs, folder, skip_bad, read)
    if doubtful:
        log.warning(
            "Warning: the landmarks of %s (for example %s) look like percentages of "
            'the sides. If so, write {"face.jpg": {"percent": [[x, y], ...]}}.',
            plural(len(doubtful), "image"),
            shown(min(doubtful)),
        )
    place = Results(
        folder,
        [*results, *map(_record, results)],
        inputs=[*paths, *([landmarks] if landmarks else [])],
        overwrite=overwrite,
        images=paths,
    )

    def write(path: Path, result: Path) -> None:
        pixels, width_and_height = read(path)
        with place.writing(result):
            write_image(pixels, result)
        with place.writing(_record(result)):
            _write_record(result, path, width_and_height, sums[path], quads[path])

    each(write, list(zip(paths, results, strict=True)))
    return Made(results, skipped)


def _quad(
    path: Path,
    photo: np.ndarray,
    given: dict[Path, object] | None,
    named: list[str],
    file: AnyPath | None,
) -> tuple[np.ndarray, bool]:
    """Finds the crop of a photograph, from landmarks in a file or its largest face.

    Returns:
        The crop (4, 2), and whether the landmarks look like percentages.
    """
    height, width, _ = photo.shape
    try:
        if given is not None:
            if path not in given:
                other = another_spelling(path.name, named)
                raise StylePrompterError(
                    f"{file} has no landmarks for this image: add them.{other}"
                )
            landmarks = Landmarks.parsed(given[path])
            quad = landmarks.quad(width, height)
            return quad, landmarks.looks_like_percent(width, height)
        found = detect.find_quad(photo)
        if found is None:
            raise StylePrompterError(
                "No face was found: give its landmarks with --landmarks."
            )
        crops.check_quad(found, width, height)
    except StylePrompterError as error:
        raise StylePrompterError(f"{shown(path)}: {error}") from error
    return found, False


def _name_fields(name: str) -> dict[str, str]:
    """Returns a photograph's name for a record; a name that is not text as bytes."""
    content = os.fsencode(name)
    try:
        return {"photograph": content.decode()}
    except UnicodeDecodeError:
        shown = content.decode(errors="backslashreplace")
        return {"photograph": shown, "photograph_hex": content.hex()}


def _record(crop: Path) -> Path:
    return crop.with_suffix(".json")


def _write_record(
    crop: Path, path: Path, size: tuple[int, int], digest: str, quad: np.ndarray
) -> None:
    """Writes the record that `unalign` needs beside a crop."""
    record = _record(crop)
    # Between real folders: ".." after a link leads to the parent of the link's target.
    folder, there = map(os.path.realpath, (record.parent, path.parent))
    photograph = Path(os.path.relpath(os.path.join(there, path.name), folder))
    text = json.dumps(
        {
            **_name_fields(photograph.as_posix()),
            "size": list(size),
            "sha256": digest,
            "quad": quad.tolist(),
        }
    )
    write_text(record, text + "\n")
