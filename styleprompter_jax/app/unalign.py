"""Pastes edited crops back into the photographs of `align`."""

import functools
import logging
import os
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from styleprompter_jax.app.pictures import (
    Made,
    each,
    find_pictures,
    leave_out,
    problem,
    suffix_of,
)
from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.core.fetch import local_copy
from styleprompter_jax.core.json_files import read_json
from styleprompter_jax.core.outbox import to_bucket
from styleprompter_jax.core.paths import AnyPath, local_path, path_text
from styleprompter_jax.core.results import ACCOUNT, Results, sources_in
from styleprompter_jax.core.sums import sha256
from styleprompter_jax.images.align import MOST, check_quad, numbers_of
from styleprompter_jax.images.align import unalign as paste_back
from styleprompter_jax.images.decode import room_for
from styleprompter_jax.images.files import check_sides, read_image, write_image
from styleprompter_jax.images.find import shown
from styleprompter_jax.images.read_once import ReadOnce


class Crop(NamedTuple):
    """The record that `align` wrote of a crop.

    Attributes:
        record: path of the record.
        photograph: path of the photograph.
        size: width and height of the photograph.
        quad: (4, 2), corners of the crop in the photograph.
        sha256: of the photograph; "" in older records.
    """

    record: Path
    photograph: Path
    size: tuple[int, int]
    quad: np.ndarray
    sha256: str = ""


# The crops of a folder, by their names without suffix, and then by their subfolders.
Crops = dict[str, dict[tuple[str, ...], Crop]]
LARGEST = 2**16  # largest size of a record in bytes
FRAME = re.compile(r"\d{4,}")  # name of a frame
STRENGTH = re.compile(r"_[+-][\d.e+-]+$")  # end of the name of an edit

log = logging.getLogger(__name__)


@to_bucket("output")
def unalign(
    inputs: Sequence[AnyPath],
    crops: AnyPath,
    output: AnyPath,
    *,
    detail: bool = True,
    format: str = "png",
    skip_bad: bool = False,
    overwrite: bool = False,
) -> Made:
    """Pastes edited crops back into their photographs.

    Args:
        inputs: files, folders and globs of crops, with the names that `invert` and
            `edit` give their results; skips images whose names match no crop, with a
            warning for each.
        crops: the folder that `align` wrote.
        output: folder of the photographs.
        detail: add the changes of the edit to the photograph; False pastes the crops
            themselves.
        format: format of the results: "png", "jpg" or "webp".
        skip_bad: skip images that cannot be read, that match two crops, or whose
            photograph cannot be read or has changed since `align`, with a warning for
            each.
        overwrite: replace files that this program did not write.

    Raises:
        StylePrompterError: if a crop or a photograph cannot be read, a photograph has
            changed, no name matches a crop, a name matches two crops, or a result
            cannot be written.
    """
    folder, known = local_path(output), _read_crops(local_copy(crops))
    sources = functools.cache(sources_in)

    def find(path: Path) -> Crop | None:
        return find_crop(path, known, sources)

    # Images with other names, for example a sheet, may be too large to read.
    read = ReadOnce(lambda path: read_image(path) if find(path) else None)
    paths, results, skipped = find_pictures(
        inputs, folder, skip_bad, read, suffix_of(format)
    )
    jobs = []
    for path, result in zip(paths, results, strict=True):
        crop = find(path)
        if crop is None:
            skipped.append(f"The name of {shown(path)} matches no crop.")
            log.warning("Skipped: %s", skipped[-1])
        else:
            check_sides(result, *crop.size)
            if path.suffix.lower() == ".gif":
                log.warning(
                    "Of %s, only the first image is pasted: for a sweep, use `edit "
                    "--animate frames`.",
                    shown(path),
                )
            jobs.append((path, result, crop))
    if not jobs:
        raise StylePrompterError(
            f"No image has the name of a crop in {crops}: keep the names that `invert` "
            "and `edit` give."
        )
    place = Results(
        folder,
        [result for _, result, _ in jobs],
        inputs=[*paths, *(p for _, _, c in jobs for p in (c.photograph, c.record))],
        overwrite=overwrite,
        images=[path for path, _, _ in jobs],
    )
    photographs = {crop.photograph: crop for _, _, crop in jobs}
    read_photo = ReadOnce(lambda path: _read_photograph(photographs[path]))
    lost = {path: said for path in photographs if (said := problem(read_photo, path))}
    jobs = [job for job in jobs if job[2].photograph not in lost]
    leave_out([*lost.values()], skip_bad)
    skipped += lost.values()
    if not jobs:
        raise StylePrompterError(
            f"No photograph of the crops in {crops} can be used: restore them, or run "
            "`styleprompter align` again."
        )

    def paste(path: Path, result: Path, crop: Crop) -> None:
        with room_for(*crop.size):
            photo, edited = read_photo(crop.photograph), read(path)
            pasted = paste_back(photo, edited, crop.quad, detail=detail)
            with place.writing(result):
                write_image(pasted, result)

    each(paste, jobs)
    return Made([result for _, result, _ in jobs], skipped)


def find_crop(
    path: Path, crops: Crops, sources: Callable[[Path], dict] = sources_in
) -> Crop | None:
    """Finds the crop of a result: `a` for `a_smile_+2.png`, in the same subfolders.

    The account of the results knows the image of an edit. Without it, names decide, and
    `a_smile/0005.png` may be a frame of `edit`: then it also belongs to `a`.

    Returns:
        The crop; None if no name matches.

    Raises:
        StylePrompterError: if two crops match.
    """
    for folder in path.parents:
        source = sources(folder).get(path.relative_to(folder).as_posix())
        if source is not None:
            *folders, own = (folder / source).parts
            if own in crops:
                return _only(path, folders, [own], crops)
    *folders, own = path.with_suffix("").parts
    # The folder of the results has an account, and a folder of frames has none.
    if folders and FRAME.fullmatch(own) and not (path.parent / ACCOUNT).exists():
        *around, edit = folders
        names = [name for name in _beginnings(edit) if name in crops and name != edit]
        if names and not any(edit in parents[-1:] for parents in crops.get(own, ())):
            return _only(path, around, names, crops)
    names = [name for name in _beginnings(own) if name in crops]
    if own in names:
        names = [own]
    elif len(names) > 1:  # after a name comes more than a strength
        names = [name for name in names if not STRENGTH.match(own, len(name))]
    return _only(path, folders, names, crops)


def _beginnings(name: str) -> Iterator[str]:
    """Yields a name, and then what is before each of its underscores, longest first."""
    while name:
        yield name
        name = name.rpartition("_")[0]


def _only(
    path: Path, folders: Sequence[str], names: Sequence[str], crops: Crops
) -> Crop | None:
    """Returns the crop with one of the names that shares most folders with a result."""
    found: dict[int, list[Crop]] = {}
    for name in names:
        for start in range(len(folders) + 1):
            if (parents := tuple(folders[start:])) in crops[name]:
                found.setdefault(len(parents), []).append(crops[name][parents])
                break
        else:  # the results of `invert` lack the folder that all its images share
            found.setdefault(-1, []).extend(crops[name].values())
    if not found:
        return None
    first, *others = found[max(found)]
    if others:
        raise StylePrompterError(
            f"{shown(path)} matches both {shown(first.record)} and "
            f"{shown(others[0].record)}: rename it to the name of its crop, or name "
            "the folder of one crop as --crops."
        )
    return first


def _read_crops(folder: Path) -> Crops:
    crops: Crops = {}
    for record in sorted(folder.rglob("*.json")):
        *parents, name = record.relative_to(folder).parts
        if any(part.startswith(".") for part in (*parents, name)):
            continue
        if (crop := _read_record(record)) is not None:
            crops.setdefault(Path(name).stem, {})[tuple(parents)] = crop
    if not crops:
        raise StylePrompterError(
            f"{folder} holds no crops: name the folder that `styleprompter align` "
            "wrote, with its .json files."
        )
    return crops


def _read_record(path: Path) -> Crop | None:
    """Reads the record of a crop; returns None for a file of another kind."""
    if not path.is_file() or path.stat().st_size > LARGEST:
        return None
    again = "run `styleprompter align` again."
    content = read_json(path, (dict, list), hint=again)
    if not isinstance(content, dict) or "quad" not in content:
        return None
    try:
        quad = numbers_of(content["quad"])
        photograph = path.parent.resolve() / path_text(_name(content))
        size, digest = content["size"], content.get("sha256", "")
        if not isinstance(size, list) or len(size) != 2:
            raise ValueError("its size is not two numbers of pixels")
        width, height = size
        if quad.shape != (4, 2) or not (np.abs(quad) < MOST).all():
            raise ValueError("its quad is not four points")
        if not (type(width) is type(height) is int and min(width, height) > 0):
            raise ValueError("its size is not two numbers of pixels")
        if not isinstance(digest, str):
            raise ValueError("its sha256 is not a text")
        right, down = quad[3] - quad[0], quad[1] - quad[0]
        skew = np.abs(quad[0] + right + down - quad[2]).max()
        area = abs(right[0] * down[1] - right[1] * down[0])
        if not area >= 1 or skew > 1e-3 * np.sqrt(area):
            raise ValueError("its quad is not a parallelogram")
        check_quad(quad, width, height)
    except (ValueError, KeyError, TypeError, StylePrompterError) as error:
        reason = str(error).rstrip(".")
        raise StylePrompterError(
            f"{path} is not a valid record of a crop ({reason}): {again}"
        ) from error
    return Crop(path, photograph, (width, height), quad, digest)


def _name(content: dict) -> str:
    """Returns the photograph's name; a record also has a non-text name as bytes."""
    if "photograph_hex" in content:
        return os.fsdecode(bytes.fromhex(content["photograph_hex"]))
    return content["photograph"]


def _read_photograph(crop: Crop) -> np.ndarray:
    path = crop.photograph
    try:
        photo = read_image(path)
    except StylePrompterError as error:
        raise StylePrompterError(
            f"{error} {shown(crop.record)} names this photograph: restore it, or run "
            "`styleprompter align` again."
        ) from error
    if photo.shape[1::-1] != crop.size:
        raise StylePrompterError(
            f"{shown(path)} is {photo.shape[1]} x {photo.shape[0]}, but "
            f"{shown(crop.record)} was written for {crop.size[0]} x {crop.size[1]}: "
            "run `styleprompter align` again."
        )
    if crop.sha256 and crop.sha256 != sha256(path):
        raise StylePrompterError(
            f"{shown(path)} has changed since {shown(crop.record)} was written: "
            "restore this photograph, or run `styleprompter align` again."
        )
    return photo
