"""From the bytes of a picture to its pixels.

What a file may hold (rotation tags, transparency, 16 bits, CMYK, colours that are not
sRGB's, damage) is dealt with here and nowhere else.
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

# What PIL may open, whatever a file is called: other formats of its run programs
# (EPS) or are libraries of their own. APNG is PNG, and MPO is JPEG.
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF")
BAND = 2**20  # pixels that are converted at once
ROOM = Room(89_478_485)  # pixels: of the largest picture, by PIL's limit
# From an upright picture to how it is stored, as views, by the tag of its rotation.
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
PREMULTIPLIED = 1  # of EXTRA; 0 is none of transparency, 2 is plain
GREY = {"1", "L", "LA", "La"}  # modes of PIL, beside those of 16 bits
# PIL knows 16-bit grey in which 0 is white of one order of bytes only.
TiffImagePlugin.OPEN_INFO.setdefault(
    (b"MM", 0, (1,), 1, (16,), ()),
    TiffImagePlugin.OPEN_INFO[b"MM", 1, (1,), 1, (16,), ()],
)
# 16-bit grey with alpha has as many bytes as red, green, blue and alpha of 8.
for _key in itertools.product((b"II", b"MM"), (0, 1), [(1,)], [1], [(16, 16)],
                              [(0,), (PREMULTIPLIED,), (2,)]):  # fmt: skip
    TiffImagePlugin.OPEN_INFO.setdefault(_key, ("RGBA", "RGBA"))
SWAPPED = {"L": "B", "B": "L", "N": "B" if sys.byteorder == "little" else "L"}


def decode_image(file: BinaryIO, name: str) -> np.ndarray:
    """A picture, upright, in sRGB, transparent parts over white.

    Args:
        file: its bytes.
        name: what errors call it.

    Returns:
        uint8 (h, w, 3).

    Raises:
        StylePrompterError: if it is damaged, no picture, or too large.
    """
    with decoded(file, name) as pixels:
        return pixels


@contextlib.contextmanager
def decoded(file: BinaryIO, name: str) -> Iterator[np.ndarray]:
    """`decode_image` for a block that works on the whole picture.

    Threads in such blocks wait for each other, so that they hold no more pixels at once
    than the largest picture has.
    """
    with contextlib.ExitStack() as room:

        def read(file: BinaryIO) -> np.ndarray:
            chunks = png.colour_chunks(file) if png.is_png(file) else {}
            with _open(file) as image:
                room.enter_context(ROOM.take(image.width * image.height))
                return _pixels(image, file, chunks)

        with _refusing(name):
            pixels = _attempt(read, file)
        yield pixels


def room_for(width: int, height: int) -> contextlib.AbstractContextManager:
    """Room for work on a picture of this size, as in `decoded`."""
    return ROOM.take(width * height)


def image_size(file: BinaryIO, name: str) -> tuple[int, int]:
    """Width and height of a picture as it is stored, without reading it.

    Raises:
        StylePrompterError: if it is no picture, or too large.
    """

    def read(file: BinaryIO) -> tuple[int, int]:
        with _open(file) as image:
            return image.size

    with _refusing(name):
        return _attempt(read, file)


class _TooLarge(Exception):
    pass


@contextlib.contextmanager
def _refusing(name: str) -> Iterator[None]:
    """Says of a picture by its name why it cannot be read."""
    try:
        yield
    except _TooLarge as error:
        most = Image.MAX_IMAGE_PIXELS or 0
        side = math.isqrt(most) // 100 * 100
        raise StylePrompterError(
            f"{name} cannot be read as a picture (it has more than {most:,} pixels): "
            f"make it smaller, for example by `magick IN -resize {side}x{side} OUT`."
        ) from error
    except UnidentifiedImageError as error:
        raise StylePrompterError(
            f"{name} cannot be read as a picture (it is none of {', '.join(FORMATS)}, "
            "or of a rare kind of these): convert or remove it."
        ) from error
    except Exception as error:  # PIL's decoders raise nearly anything
        raise StylePrompterError(
            f"{name} cannot be read as a picture ({error}): replace or remove it."
        ) from error


def _attempt(read: Callable[[BinaryIO], T], file: BinaryIO) -> T:
    """What `read` makes of a file, or of a PNG without notes that are in its way."""
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


def _open(file: BinaryIO) -> ImageFile.ImageFile:
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
    """uint8 (h, w, 3) of an open picture."""
    rawmode = _prepare(image)
    before = set(image.info)
    image.load()
    for late in {"icc_profile", "transparency"} - before:  # than the pixels: no PNG's
        image.info.pop(late, None)
    width, height = image.size
    orientation = _orientation(image)
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
    """How the pixels lie in the file, in PIL's terms; what PIL would misread is mended.

    Raises:
        ValueError: for what cannot be mended.
    """
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        tags = image.tag_v2
        if tags.get(SUBFILE, 0) & 1 or DNG in tags:
            raise ValueError("a preview in a raw photograph")
        if image.mode == "F":
            raise ValueError("floating point pixels, whose range is not known")
        if image.mode in GREY and 2 in tags.get(SAMPLE_FORMAT, ()):
            raise ValueError("signed pixels, whose range is not known")
        has_pairs = tags.get(BITS) == (16, 16)
        if tags.get(PLANES) == 2:
            if image.mode in GREY or has_pairs:
                raise ValueError("grey and transparency in planes of their own")
            if _rawmode(image) in tuple("RGBA") and 16 in tags.get(BITS, ()):
                order = "L" if tags.prefix == b"II" else "B"
                _change_rawmode(image, lambda mode: f"{mode};16{order}")
        if has_pairs:  # of which libtiff gives the machine's order of bytes
            is_packed = image.tile[0].codec_name == "libtiff"
            is_little = sys.byteorder == "little" if is_packed else tags.prefix == b"II"
            return "LA;16L" if is_little else "LA;16B"
    return _rawmode(image)


def _rawmode(image: ImageFile.ImageFile) -> str:
    args = image.tile[0].args if image.tile else ""
    rawmode = args[0] if isinstance(args, tuple) else args
    return rawmode if isinstance(rawmode, str) else ""


def _change_rawmode(image: ImageFile.ImageFile, change: Callable[[str], str]) -> None:
    """Lets PIL take the bytes of a picture, which is not loaded yet, for another."""
    image.tile = [
        tile._replace(
            args=(change(tile.args[0]), *tile.args[1:])
            if isinstance(tile.args, tuple)
            else change(tile.args or "")
        )
        for tile in image.tile
    ]


def _orientation(image: Image.Image) -> int:
    try:
        orientation = image.getexif().get(ORIENTATION)
    except Exception:  # damaged, which is no harm to the pixels
        orientation = None
    return orientation if orientation in STORED else 1


def _converter(
    image: Image.Image, file: BinaryIO, rawmode: str, chunks: Mapping[bytes, bytes]
) -> Callable[[Box], np.ndarray]:
    """A function from a box of a picture to its pixels, uint8 (h, w, 3)."""
    is_deep = image.mode.startswith("I")
    mode = "CMYK" if image.mode == "CMYK" else "RGB"
    mode = "L" if is_deep or image.mode in GREY or rawmode.startswith("LA;16") else mode
    conversion = colour.conversion(mode, image.info.get("icc_profile"), chunks)
    key = image.info.get("transparency")  # of PNG: the colour that is not seen
    if is_deep:
        return _deep_converter(_deep_grey(image), conversion, key)
    # Without them, the upper bytes alone are near enough.
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
        band.info.pop("transparency", None)  # which PIL would convert, too
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
    """What can be seen of a picture of up to 8 bits: mode L; None if all can be."""
    if not band.has_transparency_data:
        return None
    if key is None or band.mode == "P":
        return band.convert("RGBA").getchannel("A")
    # A colour that is not seen has the depth that the file has.
    most = 2**depth - 1
    key = [(k & most) * 255 // most for k in (key if isinstance(key, tuple) else [key])]
    values = np.atleast_3d(np.asarray(band.convert("L") if depth == 1 else band))
    return Image.fromarray(np.where((values == key).all(-1), 0, 255).astype(np.uint8))


def _deep_converter(
    values: Callable, conversion: colour.Conversion | None, key: Any
) -> Callable[[Box], np.ndarray]:
    """As `_converter`, for a function from a box to uint16 (h, w, k).

    k is 1 for grey, 2 with alpha, 3 for colours, 4 with alpha.
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
    """A function from a box to uint16 (h, w, 1)."""
    tags = getattr(image, "tag_v2", {})
    bits = tags.get(BITS, (16,))[0]
    most = 2**bits - 1 if bits < 16 else colour.DEEPEST

    def values(box: Box) -> np.ndarray:
        grey: np.ndarray = np.asarray(image.crop(box)).astype(np.int64)[..., None]
        if grey.min() < 0 or grey.max() > most:
            raise ValueError(f"grey values beyond {min(bits, 16)} bits")
        grey = (grey * colour.DEEPEST + most // 2) // most
        return (colour.DEEPEST - grey if tags.get(PHOTOMETRIC) == 0 else grey).astype(
            np.uint16
        )

    return values


def _deep_colours(
    image: Image.Image, file: BinaryIO, rawmode: str
) -> Callable[[Box], np.ndarray] | None:
    """A function from a box to uint16 (h, w, 2 to 4); None for a picture of 8 bits.

    PIL keeps the upper byte of each value.  In the other order of bytes it keeps the
    lower one, so the file is read once more.
    """
    if not re.fullmatch(r"(LA|R|RGB|RGBA|RGBX);16[LBN]", rawmode):
        return None
    # Grey and alpha of 16 bits have four bytes, as red, green, blue and alpha of 8.
    is_grey = rawmode.startswith("LA")
    lower = _open(file)
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
    """uint16 (h, w, 2 or 1), 0 for black, of grey and what a TIFF means beside it."""
    (extra, *_) = tags.get(EXTRA, (2,))
    grey, alpha = pairs[..., :1], pairs[..., 1:]
    if extra == PREMULTIPLIED:
        deepest = np.int64(colour.DEEPEST)
        grey = np.minimum(grey * deepest // np.maximum(alpha, 1), deepest)
    if tags.get(PHOTOMETRIC) == 0:
        grey = colour.DEEPEST - grey
    return np.concatenate([grey, alpha] if extra else [grey], -1).astype(np.uint16)
