"""Picture files: pixels survive, damage is named; tests/test_awkward.py has kinds."""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from styleprompter_jax.app.pictures import find_pictures
from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.images import files, sheets
from styleprompter_jax.images.read_once import ReadOnce

RAMP = np.linspace(0, 255, 24, dtype=np.uint8)
PICTURE = np.stack([np.tile(RAMP, (16, 1)), np.zeros((16, 24), np.uint8)] * 2)[:3]
PICTURE = PICTURE.transpose(1, 2, 0).copy()  # 16 x 24, red and blue ramps


@pytest.fixture
def save(tmp_path):
    def save(image, name, **options):
        image.save(tmp_path / name, **options)
        return tmp_path / name

    return save


def _bomb(path):
    """A few kilobytes that unpack to 12,000 x 12,000 pixels."""

    def chunk(kind, data):
        crc = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", crc)

    header = struct.pack(">IIBBBBB", 12_000, 12_000, 1, 0, 0, 0, 0)
    rows = zlib.compress(bytes(1501 * 12_000))
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", rows)
        + chunk(b"IEND", b"")
    )


def test_bad_files_are_named(tmp_path, save):
    good = save(Image.fromarray(PICTURE), "good.png")
    (tmp_path / "short.png").write_bytes(good.read_bytes()[:-30])
    flipped = bytearray(good.read_bytes())
    flipped[50] ^= 255
    (tmp_path / "flipped.png").write_bytes(flipped)
    (tmp_path / "text.png").write_text("not a picture")
    save(Image.fromarray(RAMP[None].astype(np.float32)), "float.tiff")
    _bomb(tmp_path / "bomb.png")
    for name in ("short.png", "flipped.png", "text.png", "float.tiff", "bomb.png"):
        with pytest.raises(StylePrompterError, match=rf"{name} cannot be read"):
            files.read_image(tmp_path / name)
    with pytest.raises(StylePrompterError, match=r"no file .*gone\.png"):
        files.read_image(tmp_path / "gone.png")


def test_the_centre_of_an_oblong_picture_without_aliasing(save):
    stripes = np.zeros((40, 80, 3), np.uint8)
    stripes[:, ::2] = 255
    stripes[:, :20] = stripes[:, 60:] = 77  # outside the central square
    path = save(Image.fromarray(stripes), "a.png")
    pixels = files.read_image(path, 10)
    assert pixels.shape == (10, 10, 3)
    assert np.abs(pixels[:, 1:-1].astype(int) - 128).max() < 20  # grey, not stripes
    batch = files.read_images([path, path], 10)
    assert batch.shape == (2, 10, 10, 3) and batch.dtype == np.float32
    np.testing.assert_array_equal(files.to_uint8(batch[1]), pixels)


def test_pixels_are_rounded_and_files_appear_whole(tmp_path):
    every = np.arange(256, dtype=np.uint8)
    np.testing.assert_array_equal(files.to_uint8(files.to_float(every)), every)
    assert files.to_uint8(np.array([-9.0, 0.999, 1.5])).tolist() == [0, 255, 255]
    with pytest.raises(StylePrompterError, match="NaN"):
        files.to_uint8(np.array([np.nan]))
    images = files.to_float(np.stack([PICTURE, 255 - PICTURE]))
    paths = [tmp_path / "new" / "a.png", tmp_path / "new" / "b.png"]
    files.write_images(images, paths)
    np.testing.assert_array_equal(files.read_image(paths[1]), 255 - PICTURE)
    assert sorted(tmp_path.rglob("*")) == [tmp_path / "new", *paths]
    with pytest.raises(StylePrompterError, match="1 image cannot have 2 paths"):
        files.write_images(images[:1], paths)
    # A folder whose name a file has, which is one message too.
    with pytest.raises(StylePrompterError, match="cannot be written"):
        files.write_image(images[0], paths[0] / "c.png")
    files.write_image(images[0], tmp_path / "a.webp")
    np.testing.assert_array_equal(files.read_image(tmp_path / "a.webp"), PICTURE)
    for bad in ([paths[0]] * 2, paths[:1], [paths[0], tmp_path / "c.tiff"]):
        with pytest.raises(StylePrompterError):
            files.write_images(images, bad)


def test_results_of_namesakes_do_not_collide(tmp_path):
    names = ["x/a.png", "y/a.png", "y/a.jpg", "b.png"]
    paths = files.output_paths([tmp_path / name for name in names], "out")
    assert list(map(str, paths)) == [
        "out/x/a.png",
        "out/y/a.png.png",
        "out/y/a.jpg.png",
        "out/b.png",
    ]


@pytest.mark.parametrize("name", ["in", "in/*/*.png", "in/sub"])
def test_names_of_results_do_not_depend_on_other_images(name, tmp_path):
    """Neither on images that come later, nor on those that cannot be read."""

    def found(skip_bad=False):
        read = ReadOnce(files.read_image)
        images, results, _ = find_pictures([tmp_path / name], out, skip_bad, read)
        results = [str(path.relative_to(out)) for path in results]
        return dict(zip((path.name for path in images), results, strict=True))

    out = tmp_path / "out"
    files.write_image(PICTURE, tmp_path / "in" / "sub" / "a.png")
    first = found()
    assert first == {"a.png": "a.png" if name == "in/sub" else "sub/a.png"}
    files.write_image(PICTURE, tmp_path / "in" / "b.png")
    assert found()["a.png"] == first["a.png"]
    (tmp_path / "in" / "sub" / "c.jpg").touch()
    files.write_image(PICTURE, tmp_path / "in" / "sub" / "c.png")
    skipped = found(skip_bad=True)
    files.write_image(PICTURE, tmp_path / "in" / "sub" / "c.jpg")
    whole = found()
    assert {key: whole[key] for key in skipped} == skipped


def test_an_image_named_twice_has_one_name(tmp_path):
    twice = [tmp_path / "a.png", tmp_path / "b.png", tmp_path / "a.png"]
    paths = files.output_paths(twice, "out")
    assert [path.name for path in paths] == ["a.png", "b.png", "a.png"]


def test_sides_that_a_format_does_not_have(tmp_path):
    wide = np.zeros((1, 16_384, 3), np.uint8)
    with pytest.raises(StylePrompterError, match=r"a\.webp would have 16384 x 1"):
        files.write_image(wide, tmp_path / "a.webp")
    files.write_image(wide[:, 1:], tmp_path / "a.webp")


def test_a_sheet_can_be_read_again():
    row = [np.zeros((1024, 1024, 3), np.uint8)] * 60
    table = sheets.sheet([row] * 8, ["a long name of a direction"] * 60)
    assert table.size / 3 <= sheets.LARGEST_AREA


def test_grids_and_sheets():
    images = np.stack([PICTURE] * 5)
    grid = sheets.image_grid(images, columns=3, padding=2)
    assert grid.shape == (2 * 18 - 2, 3 * 26 - 2, 3)
    np.testing.assert_array_equal(grid[18:, 26:50], PICTURE)
    assert (grid[18:, 52:] == 255).all()
    red = np.tile(np.float32([1, -1, -1]), (2, 32, 32, 1))
    table = sheets.sheet([red, red[:1]], ["one", "two"], ["first", "second row"])
    assert (table == [255, 0, 0]).all(-1).sum() == 3 * 128 * 128
    assert (table.max(-1) < 100).any()  # the titles
