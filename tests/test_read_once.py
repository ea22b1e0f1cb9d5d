"""A command reads every image only once, to check it and to use it."""

import collections

import numpy as np
import pytest
from PIL import Image

import styleprompter_jax as sp
from styleprompter_jax.cli import main
from styleprompter_jax.images import files
from styleprompter_jax.images.read_once import ReadOnce

FACE = [[10, 12], [22, 12], [16, 17], [12, 23], [20, 23]]


@pytest.fixture
def decoded(monkeypatch):
    """Counts how often each image was decoded."""
    count, decode = collections.Counter(), files.decoded

    def counted(file, name, *rest):
        count[name] += 1
        return decode(file, name, *rest)

    monkeypatch.setattr(files, "decoded", counted)
    return count


@pytest.fixture
def photos(tmp_path):
    (tmp_path / "photos").mkdir()
    for k in range(3):
        pixels = np.random.default_rng(k).integers(0, 256, (32, 32, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / "photos" / f"{k}.png")
    return tmp_path / "photos"


def test_align_and_unalign(decoded, photos, tmp_path):
    (tmp_path / "face.json").write_text(
        str({path.name: FACE for path in photos.iterdir()}).replace("'", '"')
    )
    crops = str(tmp_path / "crops")
    call = ["align", "--input", str(photos), "--output", crops, "--size", "32"]
    assert main([*call, "--landmarks", str(tmp_path / "face.json")]) == 0
    assert set(decoded.values()) == {1} and len(decoded) == 3
    decoded.clear()
    call = ["unalign", "--input", crops, "--crops", crops, "--output"]
    assert main([*call, str(tmp_path / "pasted")]) == 0
    assert set(decoded.values()) == {1} and len(decoded) == 6


def test_what_does_not_fit_is_read_again(tmp_path):
    calls = []

    def read(path):
        calls.append(path)
        if path == "bad":
            raise sp.StylePrompterError("bad")
        return np.full(100, len(calls), np.uint8)

    once = ReadOnce(read, most=250)
    for path in "abc":
        once.check(path)
    assert [once(path)[0] for path in "abc"] == [1, 2, 4] and calls == [*"abcc"]
    once.check("d")  # there is room again
    assert once("d")[0] == 5 and once("d")[0] == 6
    with pytest.raises(sp.StylePrompterError, match="bad"):
        once.check("bad")
