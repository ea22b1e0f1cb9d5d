"""`styleprompter unalign`: edited crops back into the photographs of `align`."""

import json
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np

from styleprompter_jax.commands import pictures
from styleprompter_jax.commands.read_once import ReadOnce
from styleprompter_jax.core.results import Results
from styleprompter_jax.errors import StylePrompterError
from styleprompter_jax.images.align import unalign
from styleprompter_jax.images.files import read_image, write_image


class Crop(NamedTuple):
    """What `align` noted of a crop."""

    record: Path
    photograph: Path
    size: tuple[int, int]
    quad: np.ndarray


def run(args):
    read = ReadOnce(read_image)
    paths, results, skipped = pictures.find_pictures(
        args.input, args.output, args.skip_bad, read, f".{args.format}"
    )
    crops = _read_crops(Path(args.crops))
    jobs = []
    for path, result in zip(paths, results, strict=True):
        crop = find_crop(path, crops)
        if crop is None:  # a sheet, say
            print(f"Skipped: {path} is named like no crop.", file=sys.stderr)
            skipped += 1
        else:
            jobs.append((path, result, crop))
    if not jobs:
        raise StylePrompterError(
            f"No picture is named like a crop in {args.crops}: keep the names that "
            "`invert` and `edit` gave."
        )
    place = Results(
        args.output,
        [result for _, result, _ in jobs],
        inputs=[*paths, *(p for _, _, c in jobs for p in (c.photograph, c.record))],
        overwrite=args.overwrite,
    )
    photographs = {crop.photograph: crop for _, _, crop in jobs}
    read_photo = ReadOnce(lambda path: _read_photograph(photographs[path]))
    for photograph in photographs:
        read_photo.check(photograph)

    def paste(path, result, crop):
        photo, edited = read_photo(crop.photograph), read(path)
        with place.writing(result):
            write_image(unalign(photo, edited, crop.quad, detail=args.detail), result)

    pictures.each(paste, jobs)
    left_out = f", {skipped} skipped" if skipped else ""
    done = pictures.plural(len(jobs), "photograph")
    print(f"{done} in {args.output}{left_out}.")


def find_crop(path: Path, crops: dict[Path, Crop]) -> Crop | None:
    """The crop that a result is of: `a_smile_+2.png` of `a`, in folders alike.

    Raises:
        StylePrompterError: if it may be of two crops.
    """
    *folders, stem = path.with_suffix("").parts
    ranked = {}
    for name, crop in crops.items():
        *parents, own = name.parts
        if stem == own or stem.startswith(f"{own}_"):
            # `invert` leaves out the folder that all its pictures are in.
            here = folders[len(folders) - len(parents) :] == parents
            ranked.setdefault((len(own), here, len(parents) * here), []).append(crop)
    if not ranked:
        return None
    best = ranked[max(ranked)]
    if len(best) > 1:
        raise StylePrompterError(
            f"{path} may be of {best[0].record} or {best[1].record}: name the folder "
            "of one of them as --crops."
        )
    return best[0]


def _read_crops(folder: Path) -> dict[Path, Crop]:
    """The crops in a folder by their names below it, without endings."""
    crops = {}
    for record in sorted(folder.rglob("*.json")):
        if (crop := _read_record(record)) is not None:
            crops[record.relative_to(folder).with_suffix("")] = crop
    if not crops:
        raise StylePrompterError(
            f"{folder} holds no crops: name the folder that `styleprompter align` "
            "wrote, with the .json files in it."
        )
    return crops


def _read_record(path: Path) -> Crop | None:
    """A crop's record; None for a file of another kind."""
    try:
        content = json.loads(path.read_bytes())
        if not isinstance(content, dict) or "quad" not in content:
            return None
        quad = np.asarray(content["quad"], np.float64)
        photograph = path.parent / content["photograph"]
        width, height = map(int, content["size"])
        if quad.shape != (4, 2) or not np.isfinite(quad).all():
            raise ValueError("its quad is not four points")
        right, down = quad[3] - quad[0], quad[1] - quad[0]
        skew = np.abs(quad[0] + right + down - quad[2]).max()
        area = abs(right[0] * down[1] - right[1] * down[0])
        if area < 1 or skew > 1e-3 * np.sqrt(area):
            raise ValueError("its quad is not a parallelogram")
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise StylePrompterError(
            f"{path} is no record of a crop ({error}): run `styleprompter align` again."
        ) from error
    return Crop(path, photograph, (width, height), quad)


def _read_photograph(crop: Crop) -> np.ndarray:
    path = crop.photograph
    try:
        photo = read_image(path)
    except StylePrompterError as error:
        raise StylePrompterError(
            f"{error} It is the photograph that {crop.record} names: put it back, or "
            "run `styleprompter align` again."
        ) from error
    if photo.shape[1::-1] != crop.size:
        raise StylePrompterError(
            f"{path} is {photo.shape[1]} x {photo.shape[0]}, but {crop.record} was "
            f"written for {crop.size[0]} x {crop.size[1]}: run `styleprompter align` "
            "again."
        )
    return photo
