"""PNG files whose notes are damaged: their pixels are read as if nothing were."""

import io
import re
import struct
import zlib

import numpy as np
import pytest
from icc import SRGB, chunk, gamma, icc_chunk, png, profile
from PIL import Image

from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.images.decode import decode_image, image_size

VALUES = np.random.default_rng(0).integers(0, 256, (6, 9, 3))
LINEAR = profile(gamma(None), SRGB)
EXIF = Image.Exif()
EXIF[274] = 6
EXIF = EXIF.tobytes().removeprefix(b"Exif\0\0")
COMMENT = b"Comment\0a face"

NOTES = {
    "tEXt": chunk(b"tEXt", COMMENT, crc=1),
    "tEXt without an end": chunk(b"tEXt", b"Comment"),
    "zTXt": chunk(b"zTXt", b"Comment\0\0" + zlib.compress(b"a face")[:-5]),
    "zTXt of another method": chunk(b"zTXt", b"Comment\0\7abc"),
    "zTXt of 80 MB": chunk(b"zTXt", b"c\0\0" + zlib.compress(bytes(80 * 2**20))),
    "iTXt": chunk(b"iTXt", b"Comment\0\1\0\0\0rubbish"),
    "iTXt by its sum": chunk(b"iTXt", b"Comment\0\0\0\0\0a face", crc=1),
    "XMP": chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0<x:xmpmeta \xff\xfe"),
    "eXIf": chunk(b"eXIf", b"MM\0*rubbish"),
    "eXIf, empty": chunk(b"eXIf", b""),
    "eXIf by its sum": chunk(b"eXIf", EXIF, crc=1),
    "eXIf, cut off": chunk(b"eXIf", EXIF[:13]),
    "tIME": chunk(b"tIME", b"12345", crc=1),
    "pHYs": chunk(b"pHYs", b"12"),
    "gAMA": chunk(b"gAMA", b"12"),
    "gAMA of nothing": chunk(b"gAMA", bytes(4)),
    "cHRM": chunk(b"cHRM", b"12"),
    "sRGB": chunk(b"sRGB", b""),
    "cICP": chunk(b"cICP", b"1"),
    "bKGD": chunk(b"bKGD", b"1", crc=1),
    "iCCP": chunk(b"iCCP", b"name\0\0rubbish"),
    "iCCP of another method": chunk(b"iCCP", b"name\0\7" + zlib.compress(LINEAR)),
    "iCCP by its sum": chunk(b"iCCP", b"name\0\0" + zlib.compress(LINEAR), crc=1),
    "iCCP of nothing": icc_chunk(b""),
    "tRNS by its sum": chunk(b"tRNS", VALUES[0, 0].astype(">u2").tobytes(), crc=1),
    "of its own": chunk(b"faCe", b"a face", crc=1),
}


@pytest.mark.parametrize("name", NOTES)
def test_damaged_notes_are_no_harm(name):
    contents = [png(VALUES, 8, NOTES[name]), png(VALUES, 8, NOTES["tEXt"], NOTES[name])]
    if name != "eXIf by its sum":  # PIL reads it there, and its tags are whole
        contents.append(png(VALUES, 8, after=[NOTES[name]]))
    for content in contents:
        pixels = decode_image(io.BytesIO(content), name)
        np.testing.assert_array_equal(pixels, VALUES)
        assert image_size(io.BytesIO(content), name) == (9, 6)


def test_whole_notes_beside_damaged_ones_count():
    notes = [NOTES["tEXt"], chunk(b"eXIf", EXIF), icc_chunk(LINEAR)]
    key = chunk(b"tRNS", VALUES[2, 3].astype(">u2").tobytes())
    whole = decode_image(io.BytesIO(png(VALUES, 8, *notes[1:], key)), "whole")
    assert whole.shape == (9, 6, 3) and (whole[3, 3] == 255).all()
    assert (whole.astype(int) - np.rot90(VALUES, -1)).max() > 50  # by the profile
    damaged = decode_image(io.BytesIO(png(VALUES, 8, *notes, key)), "damaged")
    np.testing.assert_array_equal(damaged, whole)


def test_damaged_pixels_are_damage():
    good = png(VALUES, 8, NOTES["tEXt"])
    data = good.index(b"IDAT")
    flipped = good[: data + 20] + bytes([good[data + 20] ^ 1]) + good[data + 21 :]
    header = good.replace(b"\0\0\0\x09\0\0\0\x06", b"\0\0\0\x09\0\0\0\x07")
    endless = png(VALUES, 8, struct.pack(">I4s", 2**31 - 1, b"tEXt") + b"abc")
    for content in (flipped, header, good[: data + 30], endless, good[:20]):
        with pytest.raises(StylePrompterError, match="cannot be read as an image"):
            decode_image(io.BytesIO(content), "damaged")


def test_too_many_pixels_say_how_many_there_may_be():
    for width, height in ((60_000, 60_000), (12_000, 12_000)):
        content = b"\x89PNG\r\n\x1a\n" + chunk(
            b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
        ) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")  # fmt: skip
        for read in (decode_image, image_size):
            with pytest.raises(StylePrompterError) as error:
                read(io.BytesIO(content), "large.png")
            assert re.search(r"89,478,485 .*-resize 9400x9400", str(error.value))
