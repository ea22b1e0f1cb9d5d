"""Awkward images: each is read correctly, or refused in one sentence."""

import os
import struct
import warnings
import zlib

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms

from styleprompter_jax.cli import main
from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.editing.latents import load_named
from styleprompter_jax.images.files import read_image
from styleprompter_jax.images.find import find_images

RAMP = np.linspace(0, 255, 24, dtype=np.uint8)
GREY = np.tile(RAMP, (16, 1))
RGB = np.stack([GREY, GREY[::-1, ::-1] // 2, np.full_like(GREY, 40)], -1)
GREY_RGB = np.tile(GREY[..., None], 3)
HALF = np.where(np.arange(24) < 12, 255, 0).astype(np.uint8) + np.zeros_like(GREY)
PLACE = "Lat 48.8584 Lon 2.2945"


def over_white(rgb):
    return np.where(HALF[..., None] == 255, rgb, np.uint8(255))


def saved(array, name, mode=None, **options):
    def make(path):
        image = Image.fromarray(array)
        (image.convert(mode) if mode else image).save(path, **options)

    return name, make


def written(content, name):
    return name, lambda path: path.write_bytes(content)


def deep(array, name):
    return name, lambda path: tifffile.imwrite(path, array)


def png(width, height, depth, colour, rows=b""):
    def chunk(kind, data):
        crc = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", crc)

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    parts = (
        chunk(b"IHDR", header),
        chunk(b"IDAT", zlib.compress(rows)),
        chunk(b"IEND", b""),
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def turned(orientation):
    """A PNG image with a rotation tag; rotated by the tag, it is upright."""
    undo = {
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.swapaxes(0, 1),
        6: lambda a: np.rot90(a),
        7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
        8: lambda a: np.rot90(a, -1),
    }.get(orientation, lambda a: a)
    exif = Image.Exif()
    exif[0x0112] = orientation
    return saved(
        np.ascontiguousarray(undo(RGB)), f"turned_{orientation}.png", exif=exif
    )


def animated(name, **options):
    others = [Image.fromarray(255 - RGB)]
    return saved(RGB, name, save_all=True, append_images=others, **options)


def transparent_palette(path):
    image = Image.fromarray(np.where(HALF == 255, 1, 0).astype(np.uint8))
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.save(path, transparency=0)


def red_is_green():
    """A colour profile in which the channels red and green have changed places."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for old, new in ((b"rXYZ", b"tmp!"), (b"gXYZ", b"rXYZ"), (b"tmp!", b"gXYZ")):
        assert profile.count(old) == 1
        profile = profile.replace(old, new)
    return profile.replace("sRGB".encode("utf-16-be"), "gRGB".encode("utf-16-be"))


def with_place(path):
    exif = Image.Exif()
    exif[0x010E] = PLACE
    exif.get_ifd(0x8825)[2] = (48.0, 51.0, 30.24)
    options = (
        {"exif": exif, "comment": PLACE} if path.suffix == ".jpg" else {"exif": exif}
    )
    Image.fromarray(RGB).save(path, **options)


LINE = np.resize(RGB, (5000, 1, 3))
RGBA, GREY_ALPHA = np.dstack([RGB, HALF]), np.dstack([GREY, HALF])
RIGHT = [  # (name and how to make it), the expected pixels, and the tolerance
    (saved(GREY, "grey.png"), GREY_RGB, 0),
    (saved(GREY_ALPHA, "grey_alpha.png"), over_white(GREY_RGB), 0),
    (saved(RGBA, "rgba.png"), over_white(RGB), 0),
    (saved(RGBA, "rgba.webp", lossless=True), over_white(RGB), 0),
    (
        ("palette.png", transparent_palette),
        over_white(np.full_like(RGB, (40, 50, 60))),
        0,
    ),
    (saved(GREY > 127, "one_bit.png"), np.where(GREY_RGB > 127, np.uint8(255), 0), 0),
    (saved(RGB, "cmyk.tiff", "CMYK"), RGB, 0),
    (saved(RGB, "cmyk.jpg", "CMYK", quality=100), RGB, 9),
    (saved(GREY.astype(np.uint16) * 257, "grey_16.png"), GREY_RGB, 0),
    (saved(GREY.astype(np.uint16) * 257, "grey_16.tif"), GREY_RGB, 0),
    (deep(RGB.astype(np.uint16) * 257, "rgb_16.tiff"), RGB, 0),
    (
        written(
            png(24, 16, 16, 2, b"".join(
                b"\0" + (row.astype(">u2") * 257).tobytes() for row in RGB
            )),
            "rgb_16.png",
        ),
        RGB,
        0,
    ),
    *((turned(k), RGB, 0) for k in range(1, 9)),
    (animated("animated.gif"), RGB, 60),
    (animated("animated.webp", lossless=True), RGB, 0),
    (animated("animated.png"), RGB, 0),
    (animated("phone.jpg", format="MPO"), RGB, 40),
    (saved(RGB[:1, 5:6], "1x1.png"), RGB[:1, 5:6], 0),
    (saved(LINE, "1x5000.png"), LINE, 0),
    (saved(RGB, "profile.png", icc_profile=red_is_green()), RGB[..., [1, 0, 2]], 3),
    (saved(RGB, "bad_profile.png", icc_profile=b"no profile"), RGB, 0),
    (("place.jpg", with_place), RGB, 40),
    (("place.png", with_place), RGB, 0),
    (("place.webp", with_place), RGB, 40),
    (saved(RGB, "\u00fcn\u00ef\u2713 \U0001f600.png"), RGB, 0),
    (saved(RGB, "two\nlines.png"), RGB, 0),
]  # fmt: skip

GOOD_PNG = png(24, 16, 8, 2, b"".join(b"\0" + row.tobytes() for row in RGB))
SVG = b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"/>'
EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EOF\n"
NO_KIND = "format is not one of PNG"
BAD = [  # (name, how it is made), and what is said of it
    (deep(GREY.astype(np.float32), "float.tiff"), "floating point"),
    (written(png(12_000, 12_000, 8, 2), "12000.png"), "pixels"),
    (written(png(12_000, 12_000, 1, 0, bytes(1501 * 12_000)), "17_kB.png"), "pixels"),
    (written(png(60_000, 60_000, 1, 0), "bomb.png"), "pixels"),
    (written(GOOD_PNG[:-40], "truncated.png"), "cannot be read"),
    (written(GOOD_PNG[:60] + b"\xff\xff" + GOOD_PNG[62:], "rotted.png"), ""),
    (written(b"", "zero.jpg"), NO_KIND),
    (written(b"hello\n", "text.png"), NO_KIND),
    (written(EPS, "drawing.eps"), NO_KIND),
    (written(EPS, "eps.png"), NO_KIND),
    (written(SVG, "drawing.svg"), NO_KIND),
    (written(b"%PDF-1.7\n", "pdf.png"), NO_KIND),
    (written(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "new_phone.heic"), NO_KIND),
    (written(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "heic.jpg"), NO_KIND),
    (written(b"BM", "new\nline.bmp"), r"new\\nline"),
    (("loop.png", lambda path: path.symlink_to(path)), "is a link to"),
    (("gone.png", lambda path: path.symlink_to("none")), "is a link to none, which"),
    (("pipe.png", os.mkfifo), "not a regular file"),
    # Root may read files without permission, but not these.
    (("unreadable.png", lambda path: path.symlink_to("/proc/self/mem")), "cannot be"),
]  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("awkward") / "pictures"
    folder.mkdir()
    for (name, make), *_ in [*RIGHT, *BAD]:
        make(folder / name)
    (folder / "notes.txt").write_text("no picture")
    (folder / "circle").symlink_to(folder)
    return folder


@pytest.mark.parametrize(("made", "expected", "closely"), RIGHT, ids=lambda x: "")
def test_right(folder, made, expected, closely):
    pixels = read_image(folder / made[0])
    assert pixels.shape == expected.shape and pixels.dtype == np.uint8
    assert np.abs(pixels - expected.astype(int)).max() <= closely


@pytest.mark.parametrize(("made", "match"), BAD, ids=lambda x: "")
def test_refused(folder, made, match):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # as the command line has it
        with pytest.raises(StylePrompterError, match=match) as error:
            read_image(folder / made[0])
    said = str(error.value)
    assert "\n" not in said and "cannot be read as an image" in said
    assert made[0].replace("\n", r"\n") in said


def test_found(folder):
    names = sorted(made[0] for made, *_ in [*RIGHT, *BAD])
    assert [path.name for path in find_images(folder).images] == names
    # A pattern follows the link to the folder, and comes by the same files again.
    found = find_images(folder / "**" / "*.tiff").images
    assert [path.name for path in found] == ["cmyk.tiff", "float.tiff", "rgb_16.tiff"]


def test_the_run_goes_on_and_no_place_is_told(folder, tmp_path, capsys, tiny_folder):
    call = ["invert", "--model", str(tiny_folder), "--batch-size", "4", "--input",
            str(folder), "--output", str(tmp_path / "out")]  # fmt: skip
    assert main(call) == 1 and not (tmp_path / "out").exists()
    capsys.readouterr()
    assert main([*call, "--skip-bad"]) == 0
    out, err = capsys.readouterr()
    assert f"{len(RIGHT)} images inverted" in out and f"{len(BAD)} skipped" in out
    assert err.count("Skipped: ") == len(BAD) and err.count("cannot be read") == len(
        BAD
    )
    results = sorted((tmp_path / "out").rglob("*.png"))
    assert len(results) == len(RIGHT) + 1  # and the sheet
    assert len(load_named(tmp_path / "out" / "latents.npz")[1]) == len(RIGHT)
    for path in (tmp_path / "out").iterdir():
        content = path.read_bytes()
        assert not any(text in content for text in (PLACE.encode(), b"Exif", b"eXIf"))
    for path in results:
        with Image.open(path) as image:
            assert not image.getexif() and not image.info
