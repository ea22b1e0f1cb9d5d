"""Inputs of encoders from files: colour, grey, sketches, label maps, oblong images."""

import icc
import numpy as np
import pytest
from PIL import Image

import styleprompter_jax as sp
from styleprompter_jax.images.files import write_image
from styleprompter_jax.images.inputs import InputReader, as_pictures
from styleprompter_jax.images.label_maps import read_labels

SIZE = 8, 8
COLOURS = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), np.uint8)
LABELS = np.arange(64, dtype=np.uint8).reshape(SIZE) % 19


def array(reader, path):
    return reader.to_array(np.stack([reader(path)]))


def save(tmp_path, picture, name="x.png", **options):
    picture.save(tmp_path / name, **options)
    return tmp_path / name


def with_palette(labels):
    picture = Image.fromarray(labels).convert("P")
    picture.putpalette([*COLOURS.reshape(-1)[: 3 * 19]])
    return picture


@pytest.mark.parametrize(
    "stored",
    [
        Image.fromarray,
        with_palette,
        lambda labels: Image.fromarray(np.repeat(labels[..., None], 3, -1)),
        lambda labels: Image.fromarray(labels.astype(np.uint16)),
        lambda labels: Image.merge("LA", [Image.fromarray(labels)] * 2),
    ],
)
def test_labels_are_numbers_however_they_are_stored(stored, tmp_path):
    path = save(tmp_path, stored(LABELS))
    np.testing.assert_array_equal(read_labels(path), LABELS)
    one_hot = array(InputReader((*SIZE, 19)), path)
    assert one_hot.dtype == np.float32 and one_hot.shape == (1, *SIZE, 19)
    np.testing.assert_array_equal(one_hot.argmax(-1)[0], LABELS)
    np.testing.assert_array_equal(one_hot.sum(-1), 1)
    assert as_pictures(one_hot).shape == (1, *SIZE, 3)


@pytest.mark.parametrize("depth", [2, 4])
def test_labels_of_few_bits_are_those_in_the_file(depth, tmp_path):
    labels = LABELS % 2**depth
    (tmp_path / "x.png").write_bytes(icc.png(labels[..., None], depth))
    np.testing.assert_array_equal(read_labels(tmp_path / "x.png"), labels)


def test_lossy_labels_are_refused(tmp_path):
    maps = [Image.fromarray(LABELS).convert("RGB")] * 2
    lossless = {"lossless": True, "exif": b"Exif\0\0"}
    for name, options in (
        ("x.webp", lossless),
        ("x.webp", {"lossless": True, "append_images": maps[1:], "save_all": True}),
        ("x.tif", {"compression": "tiff_lzw"}),
    ):
        path = save(tmp_path, maps[0], name, **options)
        np.testing.assert_array_equal(read_labels(path), LABELS)
    for name, options in (
        ("x.jpg", {}),
        ("x.webp", {}),
        ("x.webp", {"exif": lossless["exif"]}),
        ("x.webp", {"append_images": maps[1:], "save_all": True}),
        ("x.tif", {"compression": "jpeg"}),
    ):
        path = save(tmp_path, maps[0], name, **options)
        with pytest.raises(sp.StylePrompterError, match=rf"{name} .*lossy compression"):
            read_labels(path)


def test_labels_lie_upright_and_are_not_mixed_when_resized(tmp_path):
    exif = Image.Exif()
    exif[274] = 6  # stored a quarter turn to the left
    path = save(tmp_path, Image.fromarray(LABELS[:, :4]), "x.png", exif=exif)
    np.testing.assert_array_equal(read_labels(path), np.rot90(LABELS[:, :4], -1))
    path = save(tmp_path, Image.fromarray(LABELS.repeat(4, 0).repeat(4, 1)))
    assert set(np.unique(InputReader((*SIZE, 19))(path))) == set(range(19))


def test_a_sketch_is_grey_from_0_to_1(tmp_path):
    drawing = np.where(LABELS > 9, 255, 0).astype(np.uint8)
    path = save(tmp_path, Image.fromarray(drawing))
    sketch = array(InputReader((*SIZE, 1)), path)
    np.testing.assert_array_equal(sketch[0, ..., 0], drawing / np.float32(255))
    np.testing.assert_array_equal(as_pictures(sketch)[..., 0], 2 * sketch[..., 0] - 1)


def test_colours_are_left_out_of_grey(tmp_path):
    path = save(tmp_path, Image.fromarray(COLOURS))
    (grey,) = array(InputReader((*SIZE, 3), "grey"), path)
    np.testing.assert_array_equal(grey[..., :1], grey[..., 1:2])
    luma = COLOURS @ [0.299, 0.587, 0.114] / 127.5 - 1
    np.testing.assert_allclose(grey[..., 0], luma, atol=1 / 127)
    (one,) = array(InputReader((*SIZE, 1), "grey"), path)
    np.testing.assert_allclose(2 * one - 1, grey[..., :1], atol=1e-6)


def test_what_is_not_of_the_kind(tmp_path):
    picture = save(tmp_path, Image.fromarray(COLOURS), "colours.png")
    labels = save(tmp_path, Image.fromarray(LABELS), "labels.png")
    deep = save(tmp_path, Image.fromarray(LABELS.astype(np.uint16) + 250), "deep.png")
    for channels, path, match in (
        (1, picture, r"colours\.png is an image in colours.*\(--input-kind grey\)"),
        (19, picture, r"colours\.png .*an image in colours, not a label map"),
        (18, labels, r"labels\.png has the label 18.* 18 classes, 0 to 17"),
        (19, deep, r"deep\.png .*outside 0 to 255"),
    ):
        with pytest.raises(sp.StylePrompterError, match=match):
            InputReader((*SIZE, channels))(path)
    for channels, kind in ((3, "sketch"), (1, "picture"), (19, "grey"), (3, "x")):
        with pytest.raises(sp.StylePrompterError, match="input_kind is"):
            InputReader((*SIZE, channels), kind)


def test_oblong_pictures(tmp_path):
    wide = np.zeros((30, 80, 3), np.uint8)
    wide[:, 16:64] = 255  # the middle, and a little more that the filter sees
    write_image(wide, tmp_path / "wide.png")
    read = InputReader((12, 16, 3))
    assert (read(tmp_path / "wide.png") == 255).all()
    images = sp.read_images([tmp_path / "wide.png"], (12, 16))
    assert images.shape == (1, 12, 16, 3) and (images == 1).all()
    for height, width in ((40, 40), (40, 44), (80, 30)):
        write_image(np.zeros((height, width, 3), np.uint8), tmp_path / "x.png")
        with pytest.raises(sp.StylePrompterError, match=r"reads images of 16 x 12"):
            read(tmp_path / "x.png")
    table = sp.sheet([[np.zeros((12, 16, 3), np.float32)]], ["x"])
    assert table.shape[1] == 6 + 176 + 6  # of a cell of 132 x 176
