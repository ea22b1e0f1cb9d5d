"""Codes in files of other programs: valid files are read, others refused in time."""

import io
import os
import pickle
import struct
import tracemalloc
import zipfile

import numpy as np
import pytest

from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.editing import latent_files
from styleprompter_jax.editing.generator_change import GeneratorChange
from styleprompter_jax.editing.latents import Latents, load_named

CODES = np.linspace(-1, 1, 3 * 8 * 16, dtype=np.float32).reshape(3, 8, 16)


@pytest.mark.parametrize(
    ("arrays", "names"),
    [
        ({"w_plus": CODES}, ["0000", "0001", "0002"]),
        ({"w_plus": CODES.astype(">f8")}, ["0000", "0001", "0002"]),
        ({"w_plus": np.asfortranarray(CODES)}, ["0000", "0001", "0002"]),
        ({"w_plus": CODES[0]}, ["0000"]),
        ({"w_plus": CODES, "noise": np.ones(3)}, ["0000", "0001", "0002"]),
        ({"w": CODES[:1]}, ["0000"]),  # NVIDIA's projector
        ({"dlatents": CODES}, ["0000", "0001", "0002"]),
        ({"dlatents": CODES, "names": ["a", "b", "c"]}, ["a", "b", "c"]),
        ({"w_plus": CODES, "names": [1, 2, 3]}, ["1", "2", "3"]),
        ({"w_plus": CODES, "names": [b"a", b"\xe4", b"c"]}, ["a", "ä", "c"]),
        ({"w_plus": CODES[:1], "names": "solo"}, ["solo"]),
        ({"w_plus": CODES[:1], "names": ["x/名"]}, ["x/名"]),
    ],
    ids=lambda value: "-".join(value),
)
def test_codes_that_are_read(arrays, names, tmp_path):
    for write in (np.savez, np.savez_compressed):
        write(tmp_path / "a.npz", **arrays)
        latents, found = load_named(tmp_path / "a.npz")
        assert found == names
        assert latents.w_plus.dtype == np.float32
        np.testing.assert_array_equal(latents.w_plus, CODES[: len(names)])


def test_names_as_long_as_a_path(tmp_path):
    """What the writer writes, the reader reads; neither takes longer names."""
    name = "/".join(["d" * 200] * 12)
    change = tmp_path / f"{name}.safetensors"
    GeneratorChange({"a": np.ones(2, np.float32)}, "m").save(change)
    latents, file = Latents(CODES[:1]), tmp_path / "a.npz"
    latents.save(file, names=[name], changes=[change])
    found, names = load_named(file)
    assert names == [name] and found.changes[0].model == "m"
    with pytest.raises(StylePrompterError, match="not a path inside"):
        latents.save(file, names=["a" * 5000])
    np.savez(file, w_plus=CODES[:1], names=["a" * 5000])
    with pytest.raises(StylePrompterError, match="texts have 5,000 characters"):
        load_named(file)


def test_codes_of_an_npy(tmp_path):
    np.save(tmp_path / "a.npy", CODES)
    np.testing.assert_array_equal(Latents.load(tmp_path / "a.npy").w_plus, CODES)


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"w_plus": CODES[:0]}, r"\[0, 8, 16\]"),
        ({"w_plus": CODES[0, 0]}, r"\[16\]"),
        ({"w_plus": CODES[None]}, r"\[1, 3, 8, 16\]"),
        ({"w": CODES[0]}, r"'w' has the shape \[8, 16\]"),
        ({"w_plus": np.float64(1e300) * np.ones((1, 8, 16))}, "infinity"),
        ({"w_plus": CODES * np.nan}, "NaN"),
        ({"w_plus": CODES.astype(complex)}, "instead of numbers"),
        ({"w_plus": CODES > 0}, "not contain numbers"),
        ({"w_plus": CODES.astype(str)}, "not contain numbers"),
        ({"w_plus": np.array([{"a.png": CODES}])}, "reading it could run code"),
        ({"a": CODES, "b": CODES}, "no w_plus"),
        ({"names": ["a"]}, "no w_plus"),
        ({"w_plus": CODES, "names": ["a", "b"]}, "different lengths"),
        ({"w_plus": CODES, "features_0": np.ones((2, 4, 4, 3))}, "different lengths"),
        ({"w_plus": CODES, "features_1": np.ones((3, 4, 4, 3))}, "no features_0"),
        ({"w_plus": CODES, "features_0": np.full((3, 1, 1, 1), np.inf)}, "infinity"),
        ({"w_plus": CODES, "features_0": np.float32(3)}, "not contain numbers"),
        ({"w_plus": CODES, "names": ["a", "b", "a"]}, "two images 'a'"),
        ({"w_plus": CODES[:1], "names": [""]}, "not a path inside"),
        ({"w_plus": CODES[:1], "names": ["../a"]}, "not a path inside"),
        ({"w_plus": CODES[:1], "names": ["/a"]}, "not a path inside"),
        ({"w_plus": CODES[:1], "names": ["a\0b"]}, "not a path inside"),
        ({"w_plus": CODES[:1], "names": ["\ud800"]}, "not a path inside"),
    ],
    ids=str,
)
def test_codes_that_are_refused(arrays, words, tmp_path):
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(StylePrompterError, match=words) as error:
        load_named(tmp_path / "a.npz")
    assert str(error.value).startswith(str(tmp_path / "a.npz"))
    assert str(error.value).isprintable() and len(str(error.value)) < 500


def test_changes_are_read_when_they_are_needed(tmp_path, monkeypatch):
    """Of six changes of 1 MB, at most two are in memory."""
    monkeypatch.setattr(latent_files, "KEPT", 2)
    arrays = [np.full(2**18, k, np.float32) for k in range(6)]
    changes = [GeneratorChange({"a": array}, "m", "s") for array in arrays]
    codes = np.zeros((6, 2, 4), np.float32)
    file = tmp_path / "a.npz"
    Latents(codes, (), np.array([*changes])).save(file)
    tracemalloc.start()
    latents, _ = load_named(file, lazy=True)
    assert tracemalloc.get_traced_memory()[0] < 2**20
    for change, expected in zip(latents.changes, changes, strict=True):
        assert change == expected and change.source == "s"
    held, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < 2.5 * 2**20 and most < 5 * 2**20
    assert pickle.loads(pickle.dumps(latents.changes[3])) == changes[3]
    # A file that has changed since is not taken for the old one.
    changes[5].save(tmp_path / "a_0.safetensors")
    with pytest.raises(StylePrompterError, match="was replaced"):
        dict(latents.changes[0].deltas)


def test_files_that_hold_no_codes(tmp_path):
    np.savez(tmp_path / "whole.npz", w_plus=CODES)
    whole = (tmp_path / "whole.npz").read_bytes()
    path = tmp_path / "a.npz"
    for content in (b"", b"hello", whole[:-30], whole[:1000], b"PK" + bytes(99)):
        path.write_bytes(content)
        with pytest.raises(StylePrompterError, match=r"a\.npz cannot be read"):
            Latents.load(path)
    for place in range(0, len(whole), 7):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << place % 8
        path.write_bytes(damaged)
        try:
            found = Latents.load(path).w_plus
        except StylePrompterError:
            continue
        np.testing.assert_array_equal(found, CODES)  # dates, and the like
    os.mkfifo(tmp_path / "pipe.npz")
    with pytest.raises(StylePrompterError, match=r"pipe\.npz is a folder or device"):
        Latents.load(tmp_path / "pipe.npz")


def test_bombs_are_refused_before_they_are_unpacked(tmp_path):
    """A zip of zeros, and one that tells less than it holds."""
    header = io.BytesIO()
    shape = (100, 2**10, 2**8)
    fields = {"descr": "<f4", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(header, fields)
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("w_plus.npy", header.getvalue() + bytes(4 * 100 * 2**18))
    with pytest.raises(StylePrompterError, match="would unpack to"):
        Latents.load(tmp_path / "a.npz")
    whole = bytearray((tmp_path / "a.npz").read_bytes())
    directory = whole.index(b"PK\x01\x02")
    for place in (22, directory + 24):  # the size that is told
        whole[place : place + 4] = struct.pack("<I", 1000)
    (tmp_path / "a.npz").write_bytes(whole)
    with pytest.raises(StylePrompterError, match="size or CRC"):
        Latents.load(tmp_path / "a.npz")
