"""Converts the colours of images to sRGB.

LittleCMS, a part of Pillow, converts 8 bits by ICC profiles. Pillow does not pass 16
bits to LittleCMS, and a PNG may describe its colours without a profile. For these two
cases, this module has a *shaper*: a curve that gives light for each channel, and a
matrix.

Axes: h, w of an image, k channels (1 for grey, or 3).
"""

import functools
import io
import struct
import types
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from PIL import Image, ImageCms

DEEPEST = 65535  # the largest value of 16 bits
LEVELS = np.arange(DEEPEST + 1) / DEEPEST
# sRGB, 0 to 255, at these levels of light. The steps are small enough: 0.05 between
# two dark levels.
ENCODED = np.where(
    LEVELS <= 0.0031308, 12.92 * LEVELS, 1.055 * LEVELS ** (1 / 2.4) - 0.055
)
ENCODED = (255 * ENCODED).astype(np.float32)
# Without this flag, LittleCMS interpolates between 33 values. This is too coarse for
# the dark greys of a linear profile, and for colours in Lab.
EXACT = ImageCms.Flags.NOOPTIMIZE
MODES = {"GRAY": "L", "RGB ": "RGB", "CMYK": "CMYK"}  # ICC's spaces: Pillow's modes

# Chromaticities x, y of red, green, blue and white, by the numbers of ITU-T H.273.
D65 = (0.3127, 0.3290)
PRIMARIES = {
    1: ((0.64, 0.33), (0.30, 0.60), (0.15, 0.06), D65),  # sRGB's
    5: ((0.64, 0.33), (0.29, 0.60), (0.15, 0.06), D65),
    6: ((0.63, 0.34), (0.31, 0.595), (0.155, 0.07), D65),
    7: ((0.63, 0.34), (0.31, 0.595), (0.155, 0.07), D65),
    9: ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046), D65),  # BT.2020
    11: ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060), (0.314, 0.351)),
    12: ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060), D65),  # Display P3
}
SRGB = PRIMARIES[1]
# Transfer functions by the same numbers: powers, sRGB's, and BT.709's under its names.
POWERS = {4: 2.2, 5: 2.8, 8: 1.0}
TRANSFERS = {*POWERS, 13, 1, 6, 14, 15}


Place = Sequence[float] | np.ndarray  # x, y


class Conversion:
    """A conversion from one colour space to sRGB.

    Attributes:
        mode: Pillow's mode of the input: "L", "RGB" or "CMYK".
    """

    def __init__(
        self,
        mode: str,
        convert: Callable[[Image.Image], Image.Image],
        shaper: "Shaper | None" = None,
    ):
        self.mode, self._convert, self._shaper = mode, convert, shaper

    def __call__(self, image: Image.Image) -> Image.Image:
        """Converts an image of `mode` to RGB."""
        return self._convert(image)

    def deep(self, values: np.ndarray) -> np.ndarray:
        """Converts uint16 (h, w, k) to float32 (h, w, 3), 0 to 255 and not rounded."""
        if self.mode == "RGB" and values.shape[-1] == 1:
            values = np.repeat(values, 3, -1)
        if self._shaper:
            return self._shaper(values)
        pixels = np.rint(values / 257).astype(np.uint8)
        image = Image.fromarray(pixels[..., 0] if self.mode == "L" else pixels)
        return np.asarray(self(image), np.float32)


class Shaper:
    """Converts values to light by curves, and light to sRGB by a matrix.

    Args:
        curves: (k, 65536), the light of each value, 0 to 1.
        to_xyz: (3, 3), light to XYZ under D50; None for grey.
    """

    def __init__(self, curves: np.ndarray, to_xyz: np.ndarray | None = None):
        self._curves = curves.astype(np.float32)
        self._matrix = None
        if to_xyz is not None:
            self._matrix = (np.linalg.inv(_to_xyz(SRGB)) @ to_xyz).astype(np.float32)
        else:
            self._grey = _encode(self._curves[0])

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """Converts uint16 (h, w, k) to float32 (h, w, 3), 0 to 255."""
        if self._matrix is None:
            return np.repeat(self._grey[values], 3, -1)
        light = np.stack(
            [curve[values[..., k]] for k, curve in enumerate(self._curves)], -1
        )
        return _encode(light @ self._matrix.T)

    def of_image(self, image: Image.Image) -> Image.Image:
        """Converts an image of mode L or RGB to RGB."""
        values = np.atleast_3d(np.asarray(image)).astype(np.uint16) * 257
        return Image.fromarray(np.rint(self(values)).astype(np.uint8))


def conversion(
    mode: str,
    profile: bytes | None = None,
    chunks: Mapping[bytes, bytes] = types.MappingProxyType({}),
) -> Conversion | None:
    """Returns the conversion of images to sRGB.

    The computation of an ICC profile matters, and its name does not. A profile for RGB
    also applies to grey. The function ignores a profile that is damaged or for other
    channels, as browsers do.

    The chunks of a PNG have the priority of the PNG specification: cICP, then the
    profile, sRGB, and gAMA with cHRM. The function ignores a cICP of high dynamic
    range, because its conversion to sRGB is not defined. It ignores cHRM without gAMA.
    A gAMA within 5 % of 1/2.2 means the curve of sRGB, as in libpng.

    Args:
        mode: Pillow's mode of the images: "L", "RGB" or "CMYK".
        profile: an ICC profile.
        chunks: the content of cICP, sRGB, gAMA and cHRM, if the file has them.

    Returns:
        The conversion, or None if the images need none.
    """
    cicp = chunks.get(b"cICP", b"")
    if _is_known(cicp):
        return _by_cicp(cicp, mode)
    if profile:
        by_profile = _by_profile(bytes(profile))
        if by_profile and mode in (by_profile.mode, *"L" * (by_profile.mode == "RGB")):
            return by_profile
    elif b"sRGB" not in chunks and (gamma := chunks.get(b"gAMA")):
        return _by_gamma(gamma, chunks.get(b"cHRM", b""), mode)
    return None


@functools.lru_cache(16)
def _by_profile(profile: bytes) -> Conversion | None:
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        mode = MODES[source.profile.xcolor_space]
        target = ImageCms.createProfile("sRGB")
        if mode == "L":
            transform = ImageCms.buildTransform(source, target, "L", "RGB", flags=EXACT)
            greys = Image.fromarray(np.arange(256, dtype=np.uint8)[None])
            table = np.asarray(ImageCms.applyTransform(greys, transform))[0]

            def convert(image: Image.Image) -> Image.Image:
                return Image.fromarray(table[np.asarray(image)])

        else:
            transform = ImageCms.buildTransform(source, target, mode, "RGB")
            # Pillow's annotation also allows None, for changes in place.
            convert = functools.partial(  # type: ignore[assignment]
                ImageCms.applyTransform, transform=transform
            )

    except (ImageCms.PyCMSError, OSError, ValueError, KeyError):
        return None
    if _is_srgb(convert, mode):
        return None
    try:
        shaper = _shaper(profile)
    except (ValueError, KeyError, IndexError, struct.error, np.linalg.LinAlgError):
        shaper = None
    return Conversion(mode, convert, shaper)


def _is_known(cicp: bytes) -> bool:
    """Returns whether the content of cICP is supported: RGB in its full range."""
    return (
        len(cicp) == 4
        and cicp[0] in PRIMARIES
        and cicp[1] in TRANSFERS
        and cicp[2:] == b"\0\1"
    )


@functools.lru_cache(16)
def _by_cicp(content: bytes, mode: str) -> Conversion | None:
    return _by_light(_light(content[1]), PRIMARIES[content[0]], mode)


@functools.lru_cache(16)
def _by_gamma(gamma: bytes, places: bytes, mode: str) -> Conversion | None:
    """Returns the conversion that gAMA and cHRM describe."""
    if len(gamma) != 4 or not any(gamma):
        return None
    exponent = 1e5 / int.from_bytes(gamma)
    is_usual = abs(exponent / 2.2 - 1) < 0.05
    light = _light(13) if is_usual else LEVELS**exponent
    if len(places) != 32:
        return _by_light(light, SRGB, mode)
    white, *colours = np.divide(struct.unpack(">8I", places), 1e5).reshape(4, 2)
    return _by_light(light, (*colours, white), mode)


def _by_light(
    light: np.ndarray, primaries: Sequence[Place], mode: str
) -> Conversion | None:
    """Builds a conversion.

    Args:
        light: (65536,), the light of `LEVELS`.
        primaries: chromaticities x, y of red, green, blue and white.
        mode: Pillow's mode of the images.
    """
    try:
        if mode == "L":
            shaper = Shaper(light[None])
        else:
            shaper = Shaper(np.stack([light] * 3), _to_xyz(primaries))
    except np.linalg.LinAlgError:  # primaries on one line
        return None
    if _is_srgb(shaper.of_image, mode):
        return None
    return Conversion(mode, shaper.of_image, shaper)


def from_lab(image: Image.Image) -> Image.Image:
    """Converts an image of mode LAB to RGB."""
    lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    return ImageCms.profileToProfile(  # type: ignore[return-value]  # None: in place
        image, lab, srgb, outputMode="RGB", flags=EXACT
    )


def _is_srgb(convert: Callable[[Image.Image], Image.Image], mode: str) -> bool:
    """Returns whether a conversion changes each colour by at most one level of 255."""
    if mode == "CMYK":
        return False
    steps = np.rint(np.linspace(0, 255, 18)).astype(np.uint8)
    colours = np.stack(np.meshgrid(steps, steps, steps), -1).reshape(1, -1, 3)
    greys = np.arange(256, dtype=np.uint8)[None, :, None].repeat(3, -1)
    image = Image.fromarray(np.concatenate([greys, colours], 1))
    if mode == "L":
        image = Image.fromarray(greys[..., 0])
    changed = np.asarray(convert(image)).astype(int)
    return np.abs(changed - np.asarray(image.convert("RGB"))).max() <= 1


def _encode(light: np.ndarray) -> np.ndarray:
    """Converts light to float32 sRGB, 0 to 255."""
    return ENCODED[np.rint(light.clip(0, 1) * DEEPEST).astype(np.uint16)]


def _light(transfer: int) -> np.ndarray:
    """Computes the light of `LEVELS` by one of `TRANSFERS`."""
    if transfer in POWERS:
        return LEVELS ** POWERS[transfer]
    if transfer == 13:
        curved = ((LEVELS + 0.055) / 1.055) ** 2.4
        return np.where(LEVELS <= 0.04045, LEVELS / 12.92, curved)
    curved = ((LEVELS + 0.099) / 1.099) ** (1 / 0.45)
    return np.where(LEVELS < 0.081, LEVELS / 4.5, curved)


def _to_xyz(primaries: Sequence[Place]) -> np.ndarray:
    """Computes (3, 3): light of these primaries to XYZ under D50, adapted as in ICC."""

    def column(place: Place) -> np.ndarray:
        x, y = place
        if not y > 0:
            raise np.linalg.LinAlgError("a primary without light")
        return np.array([x / y, 1, (1 - x - y) / y])

    *colours, white = map(column, primaries)
    matrix = np.stack(colours, 1)
    matrix = matrix * np.linalg.solve(matrix, white)
    bradford = np.array(
        [
            [0.8951, 0.2664, -0.1614],
            [-0.7502, 1.7135, 0.0367],
            [0.0389, -0.0685, 1.0296],
        ]
    )
    d50 = np.array([0.9642, 1, 0.8249])
    ratio = (bradford @ d50) / (bradford @ white)
    return np.linalg.inv(bradford) @ (ratio[:, None] * bradford) @ matrix


def _shaper(profile: bytes) -> Shaper | None:
    """Reads the curves and the matrix of an ICC profile; None for one with tables.

    Raises:
        ValueError, KeyError, IndexError, struct.error: if the profile is damaged.
    """
    (count,) = struct.unpack_from(">I", profile, 128)
    tags = {}
    for k in range(min(count, 100)):
        name, start, size = struct.unpack_from(">4sII", profile, 132 + 12 * k)
        tags[name] = profile[start : start + size]
    if b"A2B0" in tags or b"A2B1" in tags:
        return None
    if profile[16:20] == b"GRAY":
        curve = _curve(tags[b"kTRC"])
        if profile[20:24] == b"Lab ":  # the curve gives lightness
            lab = (100 * curve + 16) / 116
            curve = np.where(lab > 6 / 29, lab**3, (lab - 4 / 29) * 108 / 841)
        return Shaper(curve[None])
    if profile[16:24] != b"RGB XYZ ":
        return None
    columns = [
        np.array(struct.unpack_from(">3i", tags[name], 8)) / 65536
        for name in (b"rXYZ", b"gXYZ", b"bXYZ")
    ]
    curves = [_curve(tags[name]) for name in (b"rTRC", b"gTRC", b"bTRC")]
    return Shaper(np.stack(curves), np.stack(columns, 1))


def _curve(tag: bytes) -> np.ndarray:
    """Computes the light of `LEVELS` by a curve of ICC."""
    if tag[:4] == b"curv":
        (count,) = struct.unpack_from(">I", tag, 8)
        if count == 0:
            return LEVELS
        table = np.frombuffer(tag, ">u2", count, 12)
        if count == 1:
            return LEVELS ** (table[0] / 256)
        return np.interp(LEVELS, np.linspace(0, 1, count), table / 65535)
    if tag[:4] != b"para":
        raise ValueError("the curve has an unknown type")
    (kind,) = struct.unpack_from(">H", tag, 8)
    count = (1, 3, 4, 5, 7)[kind]
    values = np.array(struct.unpack_from(f">{count}i", tag, 12)) / 65536
    g, a, b, c, d, e, f = (1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    if kind == 0:
        (g,) = values
    elif kind in (1, 2):  # constant below the start of the power function
        g, a, b, *rest = values
        d, e = -b / a if a else 0.0, sum(rest)
        f = e
    else:
        g, a, b, c, d, *rest = values
        e, f = rest or (0, 0)
    with np.errstate(all="ignore"):
        power = (a * LEVELS + b).clip(0) ** g + e
    curve = np.where(d <= LEVELS, power, c * LEVELS + f).clip(0, 1)
    if not np.isfinite(curve).all():
        raise ValueError("the curve has values that are not finite")
    return curve
