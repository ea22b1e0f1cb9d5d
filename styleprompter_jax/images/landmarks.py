"""Landmarks of faces from files: their layouts, their units, and whose they are.

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
from styleprompter_jax.images.align import MOST, check_quad, crop_quad

LAYOUT = '{"face.jpg": [[x, y], ...]}'
# What the sides of a photograph are in each; None where points are pixels.
UNITS = {"pixels": None, "shares": 1, "percent": 100, "thousandths": 1000}
SMALLEST = 16  # pixels of a crop's side, in a photograph that has four times as many
FAR = 0.25  # of a photograph's sides, that the middle of a face may lie outside
CORNER = 100  # pixels in which faces are few, in a photograph of many more
PORTRAIT = 60  # percent of a photograph's sides that the crop of a portrait has


class Landmarks(NamedTuple):
    """Points of one face.

    Attributes:
        points: float64 (5, 2) or (68, 2).
        unit: one of `UNITS`; None if the file says nothing, and they should be pixels.
    """

    points: np.ndarray
    unit: str | None

    @classmethod
    def parsed(cls, entry: object) -> "Landmarks":
        """What a file says of a picture; see `read_landmarks`.

        Raises:
            StylePrompterError: if these are no landmarks of one face.
        """
        unit = None
        if isinstance(entry, dict) and len(entry) == 1 and entry.keys() <= UNITS.keys():
            ((unit, entry),) = entry.items()
        if isinstance(entry, list) and all(
            isinstance(point, dict) and {"x", "y"} <= point.keys() for point in entry
        ):
            entry = [[point["x"], point["y"]] for point in entry]
        try:
            points = np.asarray(entry, np.float64)
        except (TypeError, ValueError):
            points = np.empty(0)
        if points.ndim == 3:
            if len(points) > 1:
                raise StylePrompterError(
                    f"There are landmarks of {len(points)} faces: keep those of one."
                )
            points = points.reshape(points.shape[1:])
        if points.ndim == 2 and points.shape[1] == 3:  # the depth
            points = points[:, :2]
        if points.shape not in ((5, 2), (68, 2)) or not (np.abs(points) < MOST).all():
            raise StylePrompterError(
                "The landmarks of a face are 5 or 68 pairs of numbers [x, y]"
                + (f", not {list(points.shape)}." if points.size else ".")
            )
        return cls(points, unit)

    def quad(self, width: int, height: int) -> np.ndarray:
        """The crop in a photograph of this size; see `crop_quad`.

        Raises:
            StylePrompterError: if no face lies so, or the points are out of scale.
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
                raise StylePrompterError("The face lies outside of the photograph.")
            # A portrait fills its photograph; what is smaller may be a face in pixels.
            if self.looks_like_percent(width, height, 2 if side > PORTRAIT else 10):
                raise StylePrompterError(
                    f"The face lies in the first {CORNER} pixels of {width} x {height}."
                )
        except StylePrompterError as error:
            raise StylePrompterError(f"{error} {self._hint(width, height)}") from error
        return quad

    def looks_like_percent(self, width: int, height: int, times: float = 2) -> bool:
        """Whether points that should be pixels make the face of a portrait in percent.

        In pixels it would lie in the corner of the photograph, top left.

        Args:
            width: of the photograph.
            height: of the photograph.
            times: how many corners its sides are long, at least.
        """
        points = self.points
        if self.unit or min(width, height) < times * CORNER:
            return False
        if points.min() < 0 or points.max() > CORNER:
            return False
        quad = crop_quad(points)
        return bool(np.abs(quad.mean(0) - 50).max() < 25)

    def _hint(self, width: int, height: int) -> str:
        """What the points look like, and what to do."""
        most = np.abs(self.points).max()
        if self.unit:
            return f"They are said to be {self.unit}: correct the unit or the points."
        if most <= 2:
            unit = "shares"
        elif self.looks_like_percent(width, height):
            unit = "percent"
        elif self.points.min() >= 0 and max(width, height) < most <= 1000:
            unit = "thousandths"
        else:
            return (
                "Its landmarks look like those of a copy of another size, or like "
                "another unit: write pixels of the upright photograph."
            )
        return (
            f"Its landmarks look like {unit} of its sides: write "
            f'{{"face.jpg": {{"{unit}": [[x, y], ...]}}}}, or pixels of the upright '
            'photograph under "pixels".'
        )


def read_landmarks(
    file: str | os.PathLike, paths: Sequence[Path]
) -> tuple[dict[Path, object], list[str]]:
    """The landmarks of each picture that has any, for `Landmarks.parsed`.

    And the names of pictures in the file, without their folders.

    The file is JSON: {"a.jpg": POINTS}, or POINTS alone for one picture; FFHQ's own
    metadata ("in_the_wild") is read, too. POINTS are 5 or 68 [x, y], [x, y, z] or
    {"x": x, "y": y}, or {UNIT: these}. A name may have folders before it, and must
    stand for one picture.

    Raises:
        StylePrompterError: if it cannot be read so.
    """
    hint = f"write {LAYOUT}, with 5 or 68 points for each picture."
    content = read_json(file, (dict, list), limit=TEXT, hint=hint)
    if isinstance(content, list) or content.keys() <= UNITS.keys():
        if len(paths) > 1:
            raise StylePrompterError(
                f"{file} holds one list of points for {len(paths)} pictures: write "
                f"{LAYOUT}."
            )
        return {paths[0]: content}, []
    entries = [_of_ffhq(name, entry) for name, entry in content.items()]
    lengths = {len(Path(name).parts) for name, _ in entries}
    named: dict[tuple[str, ...], list[Path]] = {}
    for path in paths:
        for length in lengths:
            if 0 < length <= len(path.parts):
                named.setdefault(path.parts[-length:], []).append(path)
    found = {}
    for name, entry in entries:
        those = named.get(Path(name).parts, [])
        if len(those) > 1:
            raise StylePrompterError(
                f"{file}: {quoted(name)} may be {those[0]} or {those[1]}: write the "
                "folder too."
            )
        if those:
            found[those[0]] = entry
    return found, [Path(name).name for name, _ in entries]


def _of_ffhq(name: str, entry: Any) -> tuple[str, object]:
    """A picture's name and points, out of an entry of FFHQ's metadata if it is one."""
    wild = entry.get("in_the_wild") if isinstance(entry, dict) else None
    if isinstance(wild, dict) and isinstance(wild.get("file_path"), str):
        return wild["file_path"], wild.get("face_landmarks")
    return name, entry
