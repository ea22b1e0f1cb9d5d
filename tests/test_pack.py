"""Packed files of images: what `pack` writes, refuses and prints."""

import re
from itertools import islice

import numpy as np
import pytest
from ml_collections import ConfigDict

from styleprompter_jax.cli import main
from styleprompter_jax.cli.commands.pack import _training
from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.data.loader import train_iterator
from styleprompter_jax.data.selected import Part
from styleprompter_jax.data.sources import make_source
from styleprompter_jax.images.files import write_image


def test_packed_pictures_train_as_their_folder_does(tmp_path):
    rng = np.random.default_rng(0)
    for i, shape in enumerate([(20, 30, 3), (9, 9, 3), (16, 12, 3)]):
        name = tmp_path / "photos" / ("deep/" * i) / f"{i}.png"
        write_image(rng.integers(0, 256, shape, np.uint8), name)
    packed = tmp_path / "packed" / "train.array_record"
    assert main(["pack", str(tmp_path / "photos"), str(packed), "--size", "8"]) == 0

    def batches(**config):
        source = make_source(ConfigDict(config | {"image_size": 8}), "train")
        iterator = train_iterator(
            source, batch_size=3, image_size=8, flip=True, seed=0, workers=0
        )
        return [batch["image"] for batch in islice(iterator, 4)]

    (tmp_path / "photos").rename(tmp_path / "train")
    np.testing.assert_array_equal(
        batches(name="array_record", path=str(tmp_path / "packed")),
        batches(name="folder", path=str(tmp_path)),
    )
    content = bytearray(packed.read_bytes())
    content[content.index(b"\x89PNG") + 50] ^= 1
    packed.write_bytes(content)
    with pytest.raises(StylePrompterError, match=r"Image \d of .*damaged"):
        batches(name="array_record", path=str(tmp_path / "packed"))
    packed.write_bytes(content[:100])
    with pytest.raises(StylePrompterError, match="pack it again"):
        batches(name="array_record", path=str(tmp_path / "packed"))


def test_packing_enlarges_no_picture(tmp_path, capsys):
    """So training knows a picture that is too small, as it does in a folder."""
    write_image(np.zeros((4, 6, 3), np.uint8), tmp_path / "photos" / "0.png")
    packed = tmp_path / "packed" / "all.array_record"
    call = ["pack", str(tmp_path / "photos"), str(packed), "--size", "8"]
    assert main([*call, "--crop", "none"]) == 0
    out, err = capsys.readouterr()
    assert "6 x 4 pixels: it keeps them" in err and "pack 3 images or more" in out
    config = dict(name="array_record", path=str(packed.parent), image_size=8)
    assert make_source(ConfigDict(config), "all")[0]["image"].shape == (4, 6, 3)
    with pytest.raises(StylePrompterError, match="6 x 4 pixels"):
        make_source(ConfigDict(config), "all", least=8)[0]
    with pytest.raises(StylePrompterError, match="names no file"):
        make_source(ConfigDict(config), "[:10%]")


def test_packing_leaves_nothing_half_made(tmp_path, capsys):
    photos, dest = tmp_path / "photos", tmp_path / "out" / "a.array_record"
    for k in range(6):
        write_image(np.zeros((8, 8, 3), np.uint8), file := photos / f"{k}.png")
        if k in (1, 4):
            file.write_bytes(file.read_bytes()[:40])
    call = ["pack", str(photos), str(dest), "--size", "4"]
    assert main(call) == 1
    first, second, hint = capsys.readouterr().err.splitlines()[-3:]
    assert "1.png" in first and "4.png" in second and "--skip-bad" in hint
    assert list(dest.parent.iterdir()) == []
    assert main([*call, "--skip-bad"]) == 0
    out = capsys.readouterr().out
    assert "4 images packed" in out and "2 skipped" in out
    config = ConfigDict(dict(name="array_record", path=str(dest.parent), image_size=4))
    assert len(make_source(config, "a")) == 4
    splits = re.findall(r"_split='(.*?)'", out)
    assert [len(make_source(config, split)) for split in splits] == [2, 2]
    for arguments, message in (
        (call, "exists"),
        (["pack", str(photos), str(tmp_path / "a.zip"), "--size", "4"], "must end"),
    ):
        assert main(arguments) == 1
        assert message in capsys.readouterr().err


@pytest.mark.parametrize("count", [3, 14, 15, 16, 1000])
def test_the_splits_that_it_prints_are_not_empty(tmp_path, count):
    """Stage "generator" needs 2 images or more for validation."""
    said = _training(tmp_path / "a b" / "x.array_record", count)
    parts = re.findall(r"_split='x\[(.*?\])'", said)
    train, held_out = (len(Part(range(count), part)) for part in parts)
    assert held_out == max(2, round(count / 10)) and train == count - held_out
    assert f"path='{tmp_path}/a b'" in said
