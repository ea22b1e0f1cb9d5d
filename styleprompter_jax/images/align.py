"""Crops a face as FFHQ does, and pastes an edited crop back into its photograph.

The geometry follows FFHQ's preparation (Karras et al. 2019; `download_ffhq.py` of the
dataset): a square around the eyes and the mouth, rotated with the face. The caller or
`images/detect.py` provides the landmarks.

A point is (x, y) in pixels of the upright photograph. (0, 0) is the centre of the top
left pixel, as in dlib. A quad is float (4, 2): the corners of the crop in the order top
left, bottom left, bottom right, top right. Photographs and crops are uint8 (h, w, 3).
"""

import math
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageFilter

from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.images.files import resize

FEATHER = 0.1  # part of a crop's side in which an edit fades out
WIDEST = 4  # largest side of a crop, as a multiple of the photograph's longer side
LARGEST = 4096  # pixels; largest side of a crop
MOST = 1e9  # largest coordinate
BAND = 2**20  # number of pixels that are computed at once


def numbers_of(values: object) -> np.ndarray:
    """Returns lists as float64; an empty array if anything in them is no number.

    NumPy would take JSON's true for 1.
    """
    try:
        numbers = np.asarray(values, np.float64)
        if any(isinstance(one, bool) for one in np.asarray(values, object).flat):
            return np.empty(0)
    except (TypeError, ValueError):
        return np.empty(0)
    return numbers


def crop_quad(landmarks: np.ndarray) -> np.ndarray:
    """Computes the square that FFHQ crops.

    Args:
        landmarks: (68, 2) in the order of iBUG 300-W (dlib), or (5, 2): the centre of
            the left eye, of the right eye, nose, left and right corner of the mouth.
            Left means left in the image.

    Returns:
        float64 (4, 2), the quad.

    Raises:
        StylePrompterError: if the landmarks have another shape, or their positions
            are impossible for a face.
    """
    points = numbers_of(landmarks)
    if points.shape not in ((5, 2), (68, 2)) or not (np.abs(points) < MOST).all():
        raise StylePrompterError(
            "The landmarks of a face must be 5 or 68 pairs of numbers [x, y]"
            + (f", not {list(points.shape)}." if points.size else ".")
        )
    if len(points) == 68:
        left, right = points[36:42].mean(0), points[42:48].mean(0)
        mouth = (points[48] + points[54]) / 2
    else:
        left, right, mouth = points[0], points[1], points[3:].mean(0)
    eyes = (left + right) / 2
    across, down = right - left, mouth - eyes
    if across[0] * down[1] - across[1] * down[0] <= 0:
        raise StylePrompterError(
            "The positions of eyes and mouth are impossible for a face: put the eye "
            "on the left of the image first."
        )
    # Half of the square's upper side, in the mean direction of eyes and face.
    x = across + np.array([down[1], -down[0]])
    x *= max(2.0 * np.hypot(*across), 1.8 * np.hypot(*down)) / np.hypot(*x)
    y = np.array([-x[1], x[0]])
    centre = eyes + 0.1 * down
    return np.stack([centre - x - y, centre - x + y, centre + x + y, centre + x - y])


def check_quad(quad: np.ndarray, width: int, height: int) -> None:
    """Refuses a quad outside a photograph of this size, or far larger than it.

    Raises:
        StylePrompterError: if no part of the photograph is in the quad, or a side of
            the quad is longer than `WIDEST` times the photograph's longer side.
    """
    size = np.array([width, height])
    edge = np.minimum(1, size / 2)  # a whole photograph may be one pixel wide
    if (quad.max(0) <= edge).any() or (quad.min(0) >= size - edge).any():
        raise StylePrompterError("The face is outside the photograph.")
    sides = np.hypot(*(quad[[3, 1]] - quad[0]).T)
    if sides.max() > WIDEST * max(width, height):
        raise StylePrompterError(
            f"The crop would be {sides.max():,.0f} pixels wide in a photograph of "
            f"{width} x {height}."
        )


def align(photo: np.ndarray, quad: np.ndarray, size: int) -> np.ndarray:
    """Crops a quad without aliasing, and fills its parts outside the photograph.

    It follows FFHQ's preparation: it first shrinks a large photograph. It fills missing
    parts with a reflection that fades into blur and the median colour. It samples the
    crop at four times its size. There are two differences to FFHQ: pixel values are
    rounded, not truncated, and a shrunk photograph is not shifted by half a pixel.

    Args:
        photo: the photograph.
        quad: a parallelogram; see `crop_quad`.
        size: side of the crop.

    Returns:
        uint8 (size, size, 3).

    Raises:
        StylePrompterError: if the quad is outside the photograph, or the quad or the
            crop is too large.
    """
    if size > LARGEST:
        raise StylePrompterError(
            f"A crop of {size} pixels is too large: choose a size (--size) up "
            f"to {LARGEST}."
        )
    # From here, coordinates are Pillow's: (0, 0) is the corner of a pixel.
    image, quad = Image.fromarray(photo), np.asarray(quad, np.float64) + 0.5
    check_quad(quad, *image.size)
    shrink = int(_side(quad) / size / 2)
    if shrink > 1:
        smaller = [max(1, round(side / shrink)) for side in image.size]
        quad = quad * np.divide(smaller, image.size)
        image = image.resize(smaller, Image.Resampling.LANCZOS)
    border = max(round(_side(quad) * 0.1), 3)
    low = np.floor(quad.min(0) - 0.5).astype(int) - border
    high = np.ceil(quad.max(0) - 0.5).astype(int) + border
    box = (*low.clip(0), *np.minimum(high, image.size))
    image, quad = image.crop(box), quad - box[:2]
    missing = np.concatenate([(-low).clip(0), (high - box[:2] - image.size).clip(0)])
    if missing.max() > border - 4:
        missing = np.maximum(missing, max(round(_side(quad) * 0.3), 1))
        image = _pad(image, missing, blur=_side(quad) * 0.02)
        quad = quad + missing[:2]
    # The steps between pixels of a crop of four times the requested size.
    fine = 4 * size
    right, down = (quad[3] - quad[0]) / fine, (quad[1] - quad[0]) / fine
    rows, reach = max(1, BAND // size), 12  # reach of the Lanczos filter at fine size

    def cut(channel: Image.Image) -> np.ndarray:
        bands = []
        for top in range(0, size, rows):
            low, high = max(0, 4 * top - reach), min(fine, 4 * (top + rows) + reach)
            x, y = quad[0] + low * down
            affine = (right[0], down[0], x, right[1], down[1], y)
            band = channel.transform(
                (fine, high - low),
                Image.Transform.AFFINE,
                affine,
                Image.Resampling.BILINEAR,
            )
            end = min(size, top + rows)
            box = (0, 4 * top - low, fine, 4 * end - low)
            shape = (size, end - top)
            band = band.resize(shape, Image.Resampling.LANCZOS, box)
            bands.append(np.asarray(band))
        return np.concatenate(bands)

    # Use floats, because Pillow's transform truncates bytes instead of rounding them.
    return _to_bytes(_each_channel(np.asarray(image, np.float32), cut))


def unalign(
    photo: np.ndarray, crop: np.ndarray, quad: np.ndarray, *, detail: bool = True
) -> np.ndarray:
    """Pastes an edited crop back into its photograph.

    Args:
        photo: the photograph that `align` cropped.
        crop: the edited crop, of any size.
        quad: the place of the crop in the photograph.
        detail: if true, add the change that the edit made. The photograph then keeps
            details that are finer than the crop, and an unchanged crop gives exactly
            the photograph. If false, paste the crop itself. This leaves no trace of
            shapes that the edit moved.

    Returns:
        uint8 like `photo`; pixels outside the quad do not change.

    Raises:
        StylePrompterError: if the quad is outside the photograph.
    """
    crop = resize(crop, min(*crop.shape[:2], LARGEST))
    new = crop.astype(np.float32)
    if detail:
        new = new - align(photo, quad, len(crop))
    quad = np.asarray(quad, np.float64) + 0.5
    finest = math.ceil(2 * _side(quad))
    if finest < len(new):  # the photograph is coarser, so sampling would alias
        new = _each_channel(
            new,
            lambda image: image.resize((finest, finest), Image.Resampling.LANCZOS),
        )
    height, width, _ = photo.shape
    check_quad(quad, width, height)
    left, top = map(int, np.floor(quad.min(0)).clip(0))
    end, bottom = map(int, np.minimum(np.ceil(quad.max(0)), (width, height)))

    # Maps pixels of the photograph to positions in the crop, from 0 to 1.
    to_crop = np.linalg.inv(np.stack([quad[3] - quad[0], quad[1] - quad[0]], 1))
    # Repeat the edge pixels, because Pillow needs pixels beyond the edge.
    edge, count = 2, len(new)
    channels = _channels(np.pad(new, ((edge, edge), (edge, edge), (0, 0)), "edge"))
    result = photo.copy()
    rows = max(1, BAND // (end - left))
    for y in range(top, bottom, rows):
        part = result[y : min(y + rows, bottom), left:end]
        offset = np.array([left, y]) - quad[0]
        affine = np.column_stack([to_crop, to_crop @ offset]).ravel() * count
        affine[[2, 5]] += edge
        height, width, _ = part.shape
        how = (Image.Transform.AFFINE, tuple(affine), Image.Resampling.BICUBIC)
        moved = [c.transform((width, height), *how) for c in channels]
        change = np.stack([np.asarray(channel) for channel in moved], -1)
        across, down = (
            np.arange(width) + 0.5 + offset[0],
            np.arange(height) + 0.5 + offset[1],
        )
        places = np.stack(np.meshgrid(across, down), -1) @ to_crop.T
        inside = np.minimum(places, 1 - places).min(-1)
        weight = (inside / FEATHER).clip(0, 1)[..., None]
        weight = weight * weight * (3 - 2 * weight)
        part[...] = _to_bytes(part + weight * (change if detail else change - part))
    return result


def _side(quad: np.ndarray) -> float:
    return float(np.hypot(*(quad[3] - quad[0])))


def _pad(image: Image.Image, missing: np.ndarray, blur: float) -> Image.Image:
    """Fills missing pixels on each side by a reflection, with more blur outwards."""
    left, top, right, bottom = map(int, missing)
    pixels = np.pad(
        np.asarray(image), ((top, bottom), (left, right), (0, 0)), mode="reflect"
    )
    height, width, _ = pixels.shape
    y, x = np.ogrid[:height, :width]
    # 1 at the new edge, and 0 or less inside the old image.
    outwards = 1 - np.minimum(
        np.minimum(x / left, (width - 1 - x) / right),
        np.minimum(y / top, (height - 1 - y) / bottom),
    )
    blurred = np.asarray(Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(blur)))
    outwards = outwards.astype(np.float32)
    for k in range(3):  # one channel at a time, because floats need memory
        result = pixels[..., k].astype(np.float32)
        result += (blurred[..., k] - result) * (3 * outwards + 1).clip(0, 1)
        result += (np.median(result) - result) * outwards.clip(0, 1)
        pixels[..., k] = _to_bytes(result)
    return Image.fromarray(pixels)


def _to_bytes(values: np.ndarray) -> np.ndarray:
    return np.rint(values.clip(0, 255)).astype(np.uint8)


def _each_channel(
    image: np.ndarray, change: Callable[[Image.Image], Image.Image | np.ndarray]
) -> np.ndarray:
    """Applies a function of Pillow to each channel of a float32 (h, w, 3)."""
    return np.stack([np.asarray(change(channel)) for channel in _channels(image)], -1)


def _channels(image: np.ndarray) -> list[Image.Image]:
    """Returns the channels of a float32 (h, w, 3)."""
    return [Image.fromarray(np.ascontiguousarray(image[..., k])) for k in range(3)]
