"""Reads landmarks of faces from files, with their layouts, units and images.

Landmarks are 5 or 68 points (x, y); see `align.crop_quad`.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.core.files import TEXT
from styleprompter_jax.core.json_files import read_json
from styleprompter_jax.core.refusal import quoted
from styleprompter_jax.core.values import shown
from styleprompter_jax.images.align import MOST, check_quad, crop_quad, numbers_of

LAYOUT = '{"face.jpg": [[x, y], ...]}'
# The length of a photograph's side in each unit; None for pixels.
UNITS = {"pixels": None, "shares": 1, "percent": 100, "thousandths": 1000}
SMALLEST = 16  # pixels; smallest side of a crop in a photograph four times as large
FAR = 0.25  # largest distance of a face's centre outside the photograph, in sides
CORNER = 100  # pixels; a face rarely fits this corner of a much larger photograph
PORTRAIT = 60  # percent of the sides; the crop of a portrait is larger


class Landmarks(NamedTuple):
    """Points of one face.

    Attributes:
        points: float64 (5, 2) or (68, 2).
        unit: one of `UNITS`; None if the file gives no unit, which means pixels.
    """

    points: np.ndarray
    unit: str | None

    @classmethod
    def parsed(cls, entry: object) -> "Landmarks":
        """Parses the entry of an image in a file; see `read_landmarks`.

        Raises:
            StylePrompterError: if the entry does not contain landmarks of one face.
        """
        unit = None
        if isinstance(entry, dict) and len(entry) == 1 and entry.keys() <= UNITS.keys():
            ((unit, entry),) = entry.items()
        if isinstance(entry, list) and all(
            isinstance(point, dict) and {"x", "y"} <= point.keys() for point in entry
        ):
            entry = [[point["x"], point["y"]] for point in entry]
        if isinstance(entry, dict):
            raise StylePrompterError(
                f"The landmarks of a face have the keys {shown(list(entry))}: write a "
                f"list of points, or one of the units {', '.join(map(str, UNITS))}."
            )
        points = numbers_of(entry)
        if points.ndim == 3:
            if len(points) > 1:
                raise StylePrompterError(
                    f"There are landmarks of {len(points)} faces: keep only one face."
                )
            points = points.reshape(points.shape[1:])
        if points.ndim == 2 and points.shape[1] == 3:  # the third number is depth
            points = points[:, :2]
        if points.shape not in ((5, 2), (68, 2)) or not (np.abs(points) < MOST).all():
            raise StylePrompterError(
                "The landmarks of a face must be 5 or 68 pairs of numbers [x, y]"
                + (f", not {list(points.shape)}." if points.size else ".")
            )
        return cls(points, unit)

    def quad(self, width: int, height: int) -> np.ndarray:
        """Computes the crop in a photograph of this size; see `crop_quad`.

        Raises:
            StylePrompterError: if the points are impossible for a face, or seem to
                have another unit.
        """
        points = self.points
        if whole := UNITS[self.unit or "pixels"]:
            points = points * np.divide((width, height), whole) - 0.5
        quad = crop_quad(points)
        side, (x, y) = np.hypot(*(quad[3] - quad[0])), quad.mean(0)
        try:
            check_quad(quad, width, height)
            if side < SMALLEST and 4 * side < min(width, height):
                raise StylePrompterError(
                    f"The crop would be {side:.2g} pixels wide in a photograph of "
                    f"{width} x {height}."
                )
            if not (
                -FAR * width < x < (1 + FAR) * width
                and -FAR * height < y < (1 + FAR) * height
            ):
                raise StylePrompterError("The face is outside the photograph.")
            # A portrait fills its photograph. A smaller crop may be correct in pixels.
            if self.looks_like_percent(width, height, 2 if side > PORTRAIT else 10):
                raise StylePrompterError(
                    f"The face is in the first {CORNER} pixels of {width} x {height}."
                )
        except StylePrompterError as error:
            raise StylePrompterError(f"{error} {self._hint(width, height)}") from error
        return quad

    def looks_like_percent(self, width: int, height: int, times: float = 2) -> bool:
        """Returns whether points without a unit look like a portrait's in percent.

        As pixels, such points would be in the top left corner of the photograph.

        Args:
            width: the width of the photograph in pixels.
            height: the height of the photograph in pixels.
            times: the smallest side of the photograph, in multiples of `CORNER`.
        """
        points = self.points
        if self.unit or min(width, height) < times * CORNER:
            return False
        if points.min() < 0 or points.max() > CORNER:
            return False
        quad = crop_quad(points)
        return bool(np.abs(quad.mean(0) - 50).max() < 25)

    def _hint(self, width: int, height: int) -> str:
        """Describes the probable unit of the points, and the fix."""
        most = np.abs(self.points).max()
        if self.unit:
            return f"Their unit in the file is {self.unit}: correct it or the points."
        if most <= 2:
            unit = "shares"
        elif self.looks_like_percent(width, height):
            unit = "percent"
        elif self.points.min() >= 0 and max(width, height) < most <= 1000:
            unit = "thousandths"
        else:
            return (
                "Its landmarks seem to belong to a copy of another size, or to have "
                "another unit: write pixels of the upright photograph."
            )
        return (
            f"Its landmarks look like {unit} of its sides: write "
            f'{{"face.jpg": {{"{unit}": [[x, y], ...]}}}}, or pixels of the upright '
            'photograph under "pixels".'
        )


def read_landmarks(
    file: str | os.PathLike, paths: Sequence[Path], folders: Sequence[Path] = ()
) -> tuple[dict[Path, object], list[str]]:
    """Reads a file of landmarks.

    The file is JSON: {"a.jpg": POINTS}, or POINTS alone for one image. FFHQ's own
    metadata ("in_the_wild") works too. POINTS are 5 or 68 [x, y], [x, y, z] or
    {"x": x, "y": y}, or {UNIT: these points}. A name may include folders or be a
    whole path, and must match one image. The path of an image from the working folder
    or from one of `folders` matches only this image. Longer names choose first.

    Args:
        file: the file.
        paths: the images.
        folders: the folders in which the images were found.

    Returns:
        The entry of each image that has landmarks, for `Landmarks.parsed`; and all
        image names in the file, without their folders.

    Raises:
        StylePrompterError: if the file cannot be read, or has another layout.
    """
    hint = f"write {LAYOUT}, with 5 or 68 points for each image."
    content = read_json(file, (dict, list), limit=TEXT, hint=hint)
    if isinstance(content, list) or content.keys() <= UNITS.keys():
        if len(paths) > 1:
            raise StylePrompterError(
                f"{file} contains one list of points for {len(paths)} images: write "
                f"{LAYOUT}."
            )
        return dict.fromkeys(paths, content), []
    entries = [_of_ffhq(name, entry) for name, entry in content.items()]
    return _matched(file, entries, paths, folders), [Path(n).name for n, _ in entries]


def _matched(
    file: str | os.PathLike,
    entries: Sequence[tuple[str, object]],
    paths: Sequence[Path],
    folders: Sequence[Path],
) -> dict[Path, object]:
    """Returns the entry of each image whose name is in a file of landmarks."""
    homes = {Path(os.path.abspath(folder)).parts for folder in [Path(), *folders]}
    homes.add(())  # of a name that is a whole path
    lengths = {len(_parts(name)) for name, _ in entries}
    exact: dict[tuple[str, ...], list[Path]] = {}
    ending: dict[tuple[str, ...], list[Path]] = {}
    for path in paths:
        # A name may have more folders than the path.
        parts = Path(os.path.abspath(path)).parts
        for length in lengths:
            if 0 < length <= len(parts):
                ending.setdefault(parts[-length:], []).append(path)
                if parts[:-length] in homes:
                    exact.setdefault(parts[-length:], []).append(path)
    found: dict[Path, object] = {}
    longest_first = sorted(entries, key=lambda entry: -len(_parts(entry[0])))
    for known in (exact, ending):
        rest = []
        for name, entry in longest_first:
            those = [p for p in known.get(_parts(name), []) if p not in found]
            if len(those) > 1:
                raise StylePrompterError(
                    f"{file}: {quoted(name)} matches {those[0]} and {those[1]}: write "
                    "the folder too."
                )
            if those:
                found[those[0]] = entry
            else:
                rest.append((name, entry))
        longest_first = rest
    return found


def _parts(name: str) -> tuple[str, ...]:
    """Returns the parts of a name; "../a.png" begins at the working folder."""
    path = Path(name)
    return Path(os.path.abspath(path)).parts if ".." in path.parts else path.parts


def _of_ffhq(name: str, entry: Any) -> tuple[str, object]:
    """Returns the name and points of an image; also from FFHQ's metadata."""
    wild = entry.get("in_the_wild") if isinstance(entry, dict) else None
    if isinstance(wild, dict) and isinstance(wild.get("file_path"), str):
        return wild["file_path"], wild.get("face_landmarks")
    return name, entry
