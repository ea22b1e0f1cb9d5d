"""Decodes the bytes of an image to pixels.

Only this module handles the variety of files: rotation tags, transparency, 16 bits,
CMYK, other colour spaces than sRGB, and damage.
"""

import contextlib
import itertools
import math
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any, BinaryIO, TypeVar

import numpy as np
from PIL import Image, ImageFile, TiffImagePlugin, UnidentifiedImageError

from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.images import colour, png
from styleprompter_jax.images.find import kind_by_content
from styleprompter_jax.images.room import Room

T = TypeVar("T")
Box = tuple[int, int, int, int]  # left, top, right, bottom

# PIL may open only these formats, for any file name. Its other formats run programs
# (EPS) or need separate libraries. APNG is PNG, and MPO is JPEG.
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF")
BAND = 2**20  # number of pixels that are converted at once
ROOM = Room(89_478_485)  # PIL's limit: the number of pixels of the largest image
# Views that turn an upright image into its stored orientation, by the rotation tag.
STORED = {
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: np.rot90(a, -1),
}
# Tags of EXIF and TIFF.
SUBFILE, DNG, EXTRA = 254, 50706, 338
BITS, PHOTOMETRIC, ORIENTATION, PLANES, SAMPLE_FORMAT = 258, 262, 274, 284, 339
PREMULTIPLIED = 1  # a value of EXTRA; 0 means no transparency, 2 means plain alpha
GREY = {"1", "L", "LA", "La"}  # PIL's modes of grey, without the 16-bit modes
# PIL reads 16-bit grey with 0 as white in one byte order only. This adds the other.
TiffImagePlugin.OPEN_INFO.setdefault(
    (b"MM", 0, (1,), 1, (16,), ()),
    TiffImagePlugin.OPEN_INFO[b"MM", 1, (1,), 1, (16,), ()],
)
# 16-bit grey with alpha has as many bytes as 8-bit RGBA.
for _key in itertools.product((b"II", b"MM"), (0, 1), [(1,)], [1], [(16, 16)],
                              [(0,), (PREMULTIPLIED,), (2,)]):  # fmt: skip
    TiffImagePlugin.OPEN_INFO.setdefault(_key, ("RGBA", "RGBA"))
SWAPPED = {"L": "B", "B": "L", "N": "B" if sys.byteorder == "little" else "L"}


def decode_image(file: BinaryIO, name: str) -> np.ndarray:
    """Decodes an image: upright, in sRGB, with transparent parts over white.

    Args:
        file: the bytes of the image.
        name: the name of the image in error messages.

    Returns:
        uint8 (h, w, 3).

    Raises:
        StylePrompterError: if the file is damaged, is not an image, or is too large.
    """
    with decoded(file, name) as pixels:
        return pixels


@contextlib.contextmanager
def decoded(file: BinaryIO, name: str) -> Iterator[np.ndarray]:
    """Decodes an image like `decode_image`, for a block that uses the whole image.

    Threads in such blocks wait for each other, so that together they never hold more
    pixels than the largest image has.
    """
    with contextlib.ExitStack() as room:

        def read(file: BinaryIO) -> np.ndarray:
            chunks = png.colour_chunks(file) if png.is_png(file) else {}
            with open_picture(file) as image:
                room.enter_context(ROOM.take(image.width * image.height))
                return _pixels(image, file, chunks)

        with refusing(name):
            pixels = attempt(read, file)
        yield pixels


def room_for(width: int, height: int) -> contextlib.AbstractContextManager:
    """Reserves room for work on an image of this size, as in `decoded`."""
    return ROOM.take(width * height)


def image_size(file: BinaryIO, name: str) -> tuple[int, int]:
    """Returns width and height of an image as it is stored, without decoding it.

    Raises:
        TooLarge: if it has more pixels than any image may have.
        StylePrompterError: if the file is not an image.
    """

    def read(file: BinaryIO) -> tuple[int, int]:
        with open_picture(file) as image:
            return image.size

    with refusing(name):
        return attempt(read, file)


class TooLarge(StylePrompterError):
    """An image has too many pixels.

    Args:
        name: the name of the image.
        most: the largest number of pixels.
    """

    def __init__(self, name: str, most: int):
        side = math.isqrt(most) // 100 * 100
        super().__init__(
            f"{name} cannot be read as an image (it has more than {most:,} pixels): "
            f"make it smaller, for example by `magick IN -resize {side}x{side} OUT`."
        )


class _TooLarge(Exception):
    pass


@contextlib.contextmanager
def refusing(name: str) -> Iterator[None]:
    """Converts errors of the block to a StylePrompterError that names the image."""
    try:
        yield
    except _TooLarge as error:
        raise TooLarge(name, Image.MAX_IMAGE_PIXELS or 0) from error
    except UnidentifiedImageError as error:
        raise StylePrompterError(
            f"{name} cannot be read as an image (its format is not one of "
            f"{', '.join(FORMATS)}, or is a rare variant): convert or remove it."
        ) from error
    except Exception as error:  # PIL's decoders raise many types of errors
        raise StylePrompterError(
            f"{name} cannot be read as an image ({error}): replace or remove it."
        ) from error


def attempt(read: Callable[[BinaryIO], T], file: BinaryIO) -> T:
    """Reads a file; for a PNG, tries again without chunks that may disturb `read`."""
    try:
        return read(file)
    except _TooLarge:
        raise
    except Exception:
        if not png.is_png(file):
            raise
        for keep in (png.USED, (b"tRNS",)):
            with contextlib.suppress(Exception):
                return read(png.without_notes(file, keep))
        raise


def open_picture(file: BinaryIO) -> ImageFile.ImageFile:
    """Opens an image of a supported format; its pixels are not loaded yet."""
    file.seek(0)
    if kind_by_content(file.read(32)) is False:
        raise UnidentifiedImageError
    file.seek(0)
    try:
        image = Image.open(file, formats=FORMATS)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _TooLarge from error
    if image.width * image.height > (Image.MAX_IMAGE_PIXELS or math.inf):
        raise _TooLarge
    return image


def _pixels(
    image: ImageFile.ImageFile, file: BinaryIO, chunks: Mapping[bytes, bytes]
) -> np.ndarray:
    """Decodes an open image to uint8 (h, w, 3)."""
    rawmode = _prepare(image)
    before = set(image.info)
    image.load()
    # In a PNG, these chunks are invalid after the pixels.
    for late in {"icc_profile", "transparency"} - before:
        image.info.pop(late, None)
    width, height = image.size
    orientation = orientation_of(image)
    pixels = np.empty(
        (width, height, 3) if orientation >= 5 else (height, width, 3), np.uint8
    )
    stored = STORED.get(orientation, lambda a: a)(pixels)
    convert = _converter(image, file, rawmode, chunks)
    rows = max(1, BAND // width)
    for top in range(0, height, rows):
        end = min(height, top + rows)
        stored[top:end] = convert((0, top, width, end))
    return pixels


def _prepare(image: ImageFile.ImageFile) -> str:
    """Returns PIL's raw mode of the pixels, and corrects cases that PIL misreads.

    Raises:
        ValueError: for cases that cannot be corrected.
    """
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        tags = image.tag_v2
        if tags.get(SUBFILE, 0) & 1 or DNG in tags:
            raise ValueError("it is a preview in a raw photograph")
        if image.mode == "F":
            raise ValueError("the range of its floating point pixels is not known")
        if image.mode in GREY and 2 in tags.get(SAMPLE_FORMAT, ()):
            raise ValueError("the range of its signed pixels is not known")
        has_pairs = tags.get(BITS) == (16, 16)
        if tags.get(PLANES) == 2:
            if image.mode in GREY or has_pairs:
                raise ValueError("grey and transparency are in separate planes")
            if rawmode_of(image) in tuple("RGBA") and 16 in tags.get(BITS, ()):
                order = "L" if tags.prefix == b"II" else "B"
                _change_rawmode(image, lambda mode: f"{mode};16{order}")
        if has_pairs:  # libtiff returns these in the machine's byte order
            is_packed = image.tile[0].codec_name == "libtiff"
            is_little = sys.byteorder == "little" if is_packed else tags.prefix == b"II"
            return "LA;16L" if is_little else "LA;16B"
    return rawmode_of(image)


def rawmode_of(image: ImageFile.ImageFile) -> str:
    """Returns PIL's raw mode of an image that is not loaded yet; "" if unknown."""
    args = image.tile[0].args if image.tile else ""
    rawmode = args[0] if isinstance(args, tuple) else args
    return rawmode if isinstance(rawmode, str) else ""


def _change_rawmode(image: ImageFile.ImageFile, change: Callable[[str], str]) -> None:
    """Changes the raw mode by which PIL will read an image that is not loaded yet."""
    image.tile = [
        tile._replace(
            args=(change(tile.args[0]), *tile.args[1:])
            if isinstance(tile.args, tuple)
            else change(tile.args or "")
        )
        for tile in image.tile
    ]


def orientation_of(image: Image.Image) -> int:
    """Returns the rotation tag of an image, a key of `STORED`; 1 if it has no tag."""
    try:
        orientation = image.getexif().get(ORIENTATION)
    except Exception:  # damaged EXIF does not affect the pixels
        orientation = None
    return orientation if orientation in STORED else 1


def _converter(
    image: Image.Image, file: BinaryIO, rawmode: str, chunks: Mapping[bytes, bytes]
) -> Callable[[Box], np.ndarray]:
    """Returns a function from a box of an image to its pixels, uint8 (h, w, 3)."""
    is_deep = image.mode.startswith("I")
    mode = "CMYK" if image.mode == "CMYK" else "RGB"
    mode = "L" if is_deep or image.mode in GREY or rawmode.startswith("LA;16") else mode
    conversion = colour.conversion(mode, image.info.get("icc_profile"), chunks)
    key = image.info.get("transparency")  # in a PNG, the transparent colour
    if is_deep:
        return _deep_converter(_deep_grey(image), conversion, key)
    # In other cases, the upper bytes are precise enough.
    if conversion or isinstance(key, tuple) or image.mode == "RGBA":
        values = _deep_colours(image, file, rawmode)
        if values:
            return _deep_converter(values, conversion, key)
    depth = {"1": 1, "L;2": 2, "L;4": 4}.get(rawmode, 8)

    def convert(box: Box) -> np.ndarray:
        band = image.crop(box)
        alpha = _alpha(band, key, depth)
        if alpha and band.mode == "P":
            band = band.convert("RGBA")
        band.info.pop("transparency", None)  # PIL would convert it too
        if band.mode == "LAB":
            opaque = colour.from_lab(band)
        elif conversion:
            opaque = conversion(band.convert(mode).convert(conversion.mode))
        else:
            opaque = band.convert(mode).convert("RGB")
        if alpha:
            white = Image.new("RGB", band.size, "white")
            opaque = Image.composite(opaque, white, alpha)
        return np.asarray(opaque)

    return convert


def _alpha(band: Image.Image, key: Any, depth: int) -> Image.Image | None:
    """Returns the alpha of an image of up to 8 bits in mode L; None if opaque."""
    if not band.has_transparency_data:
        return None
    if key is None or band.mode == "P":
        return band.convert("RGBA").getchannel("A")
    # The transparent colour has the same depth as the file.
    most = 2**depth - 1
    key = [(k & most) * 255 // most for k in (key if isinstance(key, tuple) else [key])]
    values = np.atleast_3d(np.asarray(band.convert("L") if depth == 1 else band))
    return Image.fromarray(np.where((values == key).all(-1), 0, 255).astype(np.uint8))


def _deep_converter(
    values: Callable, conversion: colour.Conversion | None, key: Any
) -> Callable[[Box], np.ndarray]:
    """Returns a function like `_converter`, from a function that reads a box.

    The given function returns uint16 (h, w, k), where k is 1 for grey, 2 for grey with
    alpha, 3 for colours, and 4 for colours with alpha.
    """

    def convert(box: Box) -> np.ndarray:
        deep = values(box)
        colours = deep[..., : deep.shape[-1] - 1 | 1]
        rgb = conversion.deep(colours) if conversion else colours / np.float32(257)
        if key is not None:
            seen = (colours != key).any(-1, keepdims=True)
        elif deep.shape[-1] in (2, 4):
            seen = deep[..., -1:] / np.float32(colour.DEEPEST)
        else:
            seen = np.float32(1)
        return np.rint(rgb * seen + 255 * (1 - seen)).astype(np.uint8)

    return convert


def _deep_grey(image: Image.Image) -> Callable[[Box], np.ndarray]:
    """Returns a function from a box to uint16 (h, w, 1)."""
    tags = getattr(image, "tag_v2", {})
    bits = tags.get(BITS, (16,))[0]
    most = 2**bits - 1 if bits < 16 else colour.DEEPEST

    def values(box: Box) -> np.ndarray:
        grey: np.ndarray = np.asarray(image.crop(box)).astype(np.int64)[..., None]
        if grey.min() < 0 or grey.max() > most:
            raise ValueError(f"its grey values have more than {min(bits, 16)} bits")
        grey = (grey * colour.DEEPEST + most // 2) // most
        return (colour.DEEPEST - grey if tags.get(PHOTOMETRIC) == 0 else grey).astype(
            np.uint16
        )

    return values


def _deep_colours(
    image: Image.Image, file: BinaryIO, rawmode: str
) -> Callable[[Box], np.ndarray] | None:
    """Returns a function from a box to uint16 (h, w, 2 to 4); None for 8-bit images.

    PIL keeps only the upper byte of each value. With the other byte order, PIL keeps
    the lower byte, so this function opens the file a second time.
    """
    if not re.fullmatch(r"(LA|R|RGB|RGBA|RGBX);16[LBN]", rawmode):
        return None
    # 16-bit grey with alpha has four bytes, like 8-bit RGBA.
    is_grey = rawmode.startswith("LA")
    lower = open_picture(file)
    _prepare(lower)
    _change_rawmode(
        lower, lambda mode: "RGBA" if is_grey else mode[:-1] + SWAPPED[mode[-1]]
    )
    lower.load()

    def values(box: Box) -> np.ndarray:
        low = np.asarray(lower.crop(box)).astype(np.uint16)
        if is_grey:
            pairs = low[..., ::2], low[..., 1::2]
            high, low = pairs if rawmode.endswith("B") else reversed(pairs)
            return _plain_pairs(high * 256 + low, getattr(image, "tag_v2", {}))
        return np.asarray(image.crop(box)).astype(np.uint16) * 256 + low

    return values


def _plain_pairs(pairs: np.ndarray, tags: Mapping) -> np.ndarray:
    """Converts grey and a TIFF's extra channel to uint16 (h, w, 2 or 1); 0 is black."""
    (extra, *_) = tags.get(EXTRA, (2,))
    grey, alpha = pairs[..., :1], pairs[..., 1:]
    if extra == PREMULTIPLIED:
        deepest = np.int64(colour.DEEPEST)
        grey = np.minimum(grey * deepest // np.maximum(alpha, 1), deepest)
    if tags.get(PHOTOMETRIC) == 0:
        grey = colour.DEEPEST - grey
    return np.concatenate([grey, alpha] if extra else [grey], -1).astype(np.uint16)
