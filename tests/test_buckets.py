"""Buckets: what they hold is read as from a disk, and faults are one sentence.

The servers are emulators on the loopback (`emulators`).
"""

import os
import shutil
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from conftest import TINY
from emulators import KINDS, environment, running, skip_without_packages, using
from loopback import Handler, Loopback
from ml_collections import ConfigDict

import styleprompter_jax as sp
from styleprompter_jax.app.pack import pack
from styleprompter_jax.cli import main
from styleprompter_jax.core import buckets, fetch
from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.core.paths import cache_folder
from styleprompter_jax.data.sources import make_source
from styleprompter_jax.data.tables import find_pictures
from styleprompter_jax.editing.latents import load_named
from styleprompter_jax.images.files import read_image, read_images, write_image
from styleprompter_jax.images.find import find_images
from styleprompter_jax.store import model_folder
from styleprompter_jax.store.shard_folder import shard_folder
from styleprompter_jax.training.run.place import open_place

skip_without_packages()


@pytest.fixture(scope="module", params=KINDS)
def bucket(request, tmp_path_factory):
    """The address of an empty bucket of each kind."""
    with running(request.param, tmp_path_factory.mktemp("cache")) as emulator:
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


# gcsfs sends a part as bytes, which aiohttp remarks on.
@pytest.mark.filterwarnings("ignore:Sending a large body:ResourceWarning")
def test_large_and_missing_files(bucket, tmp_path, monkeypatch):
    address, file = buckets.parse(f"{bucket}/sizes/large"), tmp_path / "large"
    with pytest.raises(FileNotFoundError):
        buckets.upload(file, address, 4)
    monkeypatch.setattr(buckets, "_SMALL", 0)
    monkeypatch.setattr(buckets, "_PART", 5 * 2**20)  # the least that S3 takes
    content = np.random.default_rng(0).bytes(13 * 2**20)
    file.write_bytes(content)
    for size in (7, 11 * 2**20 + 3, len(content)):
        buckets.upload(file, address, size)
        assert buckets.read(address) == content[:size]
    for cut in (3, 12 * 2**20):
        with file.open("r+b") as opened:
            opened.truncate(cut)
        with pytest.raises(FileNotFoundError):
            buckets.upload(file, address.parent / f"cut{cut}", 12 * 2**20 + 1)
        assert buckets.find(address.parent / f"cut{cut}") is None
    file.unlink()
    with pytest.raises(FileNotFoundError):
        buckets.upload(file, address, 7)


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
    with pytest.raises(StylePrompterError, match=f"the copy of {bucket}/models"):
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


@pytest.mark.parametrize("text", ["s4://bucket/x", "gcs://bucket/x", "hf://user/x"])
def test_other_addresses_name_the_kinds(text, tmp_path, capsys):
    for call in (
        lambda: find_images(text),
        lambda: sp.get_config(text),
        lambda: shard_folder(text),
        lambda: pack(tmp_path, text, size=8),
        lambda: buckets.checked_path(text),
        lambda: open_place(text).__enter__(),
    ):
        with pytest.raises(StylePrompterError, match=r"begins with gs:// or s3://"):
            call()
    assert main(["invert", "--model", "m", "--input", text, "--output", "o"]) == 1
    assert "gs:// or s3://" in capsys.readouterr().err


def test_wrong_places_are_one_sentence(bucket, capsys, tmp_path):
    for call, said in (
        (lambda: sp.load(f"{bucket}/nothing"), f"There is nothing at {bucket}/nothing"),
        (lambda: sp.load(f"{bucket[:5]}no-bucket/m"), "There is no bucket"),
    ):
        with pytest.raises(StylePrompterError, match=said) as caught:
            call()
        assert "\n" not in str(caught.value)


def test_messages_about_copies_name_the_addresses(bucket, tmp_path, capsys):
    write_image(np.full((8, 8, 3), 99, np.uint8), tmp_path / "run" / "a.png")
    (tmp_path / "run" / "b.png").write_bytes(b"no image")
    (tmp_path / "run" / "c.ppm").touch()
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "notes").touch()
    put(tmp_path, f"{bucket}/named")
    run, empty = f"{bucket}/named/run", f"{bucket}/named/empty"
    for call, said in (
        (lambda: sp.load(run), f"{run} is not a model folder"),
        (lambda: find_images(empty), f"{empty} contains no images"),
        (lambda: find_images(f"{run}/a"), f"nothing at {run}/a:"),
        (lambda: read_images(find_images(run).images, 8), f"{run}/b.png "),
    ):
        with pytest.raises(StylePrompterError, match=said) as caught:
            call()
        assert str(cache_folder("buckets")) not in str(caught.value)
    invert = ["invert", "--model", "avatars64", "--output", str(tmp_path / "out")]
    assert main([*invert, "--input", run]) == 1
    told = capsys.readouterr().err
    assert f"{run}/b.png " in told and f"Skipped {run}/c.ppm" in told
    assert str(cache_folder("buckets")) not in told


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


def test_many_small_copies_are_measured_seldom(bucket, monkeypatch):
    folder, measured = buckets.parse(f"{bucket}/small"), []
    size = fetch._size

    def measure(entry):
        measured.append(entry)
        return size(entry)

    monkeypatch.setattr(fetch, "_size", measure)
    monkeypatch.setattr(fetch, "_measured", {}, raising=False)
    for k in range(12):
        buckets.write(folder / str(k), bytes(100))
    first = fetch.local_copy(f"{folder}/0")
    cache = first.parents[1]
    before = len(measured)
    for k in range(1, 12):
        fetch.local_copy(f"{folder}/{k}")
    assert len(measured) == before > 0
    assert fetch._measured[cache][1] == size(cache)  # what it counted is what is there
    monkeypatch.setattr(fetch, "LIMIT", size(cache))
    buckets.write(folder / "more", bytes(100))
    with pytest.raises(StylePrompterError, match="its copy in"):
        fetch.local_copy(f"{folder}/more")
    assert len(measured) > before


def test_results_go_to_a_bucket(bucket, tiny_folder, tmp_path, capsys):
    put(tiny_folder, f"{bucket}/of results/tiny")
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    write_image(pixels, tmp_path / "a.png")
    call = [
        "invert", "--model", f"{bucket}/of results/tiny", "--input",
        str(tmp_path / "a.png"), "--output", f"{bucket}/of results/out",
    ]  # fmt: skip
    for _ in range(2):  # the second call replaces its own results
        assert main(call) == 0, capsys.readouterr().err
        assert capsys.readouterr().out == f"1 image inverted to {call[-1]}.\n"
    out = buckets.parse(call[-1])
    names = [".styleprompter", "a.png", "latents.npz", "sheet.png"]
    assert [*buckets.listing(out)] == names
    latents, _ = load_named(f"{out}/latents.npz")
    assert latents.w_plus.shape == (1, 8, 16)
    buckets.write(out / "a.png", b"mine")
    assert main(call) == 1
    assert f"{out}/a.png exists, and this program" in capsys.readouterr().err
    assert buckets.read(out / "a.png") == b"mine"
    assert not [*cache_folder("outputs").iterdir()]


def test_packed_images(bucket, tmp_path):
    rng = np.random.default_rng(0)
    for name in "abc":
        image = rng.integers(0, 256, (16, 16, 3), np.uint8)
        write_image(image, tmp_path / "in" / f"{name}.png")
    put(tmp_path / "in", f"{bucket}/to pack")
    for folder, place in (
        (tmp_path / "in", tmp_path),
        (f"{bucket}/to pack", f"{bucket}/packed"),
    ):
        call = ["pack", str(folder), f"{place}/train.array_record", "--size", "8"]
        assert main(call) == 0
    assert main(call) == 1  # it exists
    for name, split in (("array_record", "train[1:]"), ("folder", "[1:]")):
        found = [
            make_source(
                ConfigDict({"name": name, "path": str(path), "image_size": 8}), split
            )
            for path in (
                (tmp_path, f"{bucket}/packed")
                if name == "array_record"
                else (tmp_path / "in", f"{bucket}/to pack")
            )
        ]
        assert found[0].fingerprint() == found[1].fingerprint()
        np.testing.assert_array_equal(found[0][1]["image"], found[1][1]["image"])


def test_tables_and_folders_that_must_be_local(bucket, tmp_path, capsys):
    write_image(np.zeros((8, 8, 3), np.uint8), tmp_path / "faces" / "a.png")
    put(tmp_path, f"{bucket}/table")
    (path,) = find_pictures(f"{bucket}/table/labels.csv", ["faces/a.png"])
    assert read_image(path).shape == (8, 8, 3)
    call = ["evaluate", "--model", "m", "--data", "d", "--data-dir", f"{bucket}/x"]
    assert main(call) == 1
    assert f"{bucket}/x is an address" in capsys.readouterr().err


def test_models_are_saved_to_a_bucket(bucket, tiny_variables, monkeypatch):
    place = f"{bucket}/saved/tiny"
    saved = model_folder.save_model(place, TINY, tiny_variables)
    buckets.write(buckets.parse(place) / "notes.txt", b"mine")
    for path in (saved, place):  # pathlib makes one slash of two
        assert model_folder.load_model(path)[0] == TINY
    order = []
    upload = buckets.upload

    def cut(file, address, size):
        order.append(address.name)
        if address.name == "config.json":
            raise StylePrompterError("The network is gone.")
        upload(file, address, size)

    monkeypatch.setattr(buckets, "upload", cut)
    variables = jax.tree.map(lambda x: x / 2, tiny_variables)
    with pytest.raises(StylePrompterError, match="The results are in") as error:
        model_folder.save_model(place, TINY, variables)
    kept = Path(str(error.value).split()[-1].rstrip("."))
    assert order == ["model.safetensors", "config.json"]
    assert model_folder.load_model(kept / "tiny")[0] == TINY
    with pytest.raises(StylePrompterError, match=r"SHA-256|has changed|damaged"):
        model_folder.load_model(place)  # never half of each
    monkeypatch.undo()
    model_folder.save_model(place, TINY, variables)
    assert [*buckets.listing(buckets.parse(place))] == [
        "config.json", "model.safetensors", "notes.txt"
    ]  # fmt: skip


class Refusing(Handler):
    """A bucket that may be read, and not written."""

    def do_GET(self):
        gs = self.path.startswith("/storage")
        if gs and "/o/" in self.path:
            return self._answer(404, b"")
        self._answer(200, b"{}" if gs else b"<ListBucketResult></ListBucketResult>")

    def do_HEAD(self):
        self._answer(404, b"")

    def do_PUT(self):
        self.rfile.read(int(self.headers.get("content-length") or 0))
        self._answer(403, b"<Error><Code>AccessDenied</Code></Error>")

    do_POST = do_PUT

    def _answer(self, status, body):
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.mark.parametrize("kind", KINDS)
def test_buckets_that_cannot_be_written(kind, tmp_path):
    with (
        Loopback(Refusing) as server,
        using(environment(kind, int(server.url.rpartition(":")[2])), tmp_path),
        pytest.raises(StylePrompterError, match="cannot be written, because access is "
                      "refused") as error,
        open_place(f"{kind}://faces/run") as place,
        place.owned(),
    ):  # fmt: skip
        pytest.fail("a run began")
    assert "\n" not in str(error.value)


def test_without_credentials(tmp_path, monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    with (
        using({"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}, tmp_path),
        pytest.raises(StylePrompterError, match=r"refused .*set AWS_ACCESS_KEY_ID"),
    ):
        sp.load("s3://faces/model")


def test_without_the_client(monkeypatch):
    buckets._client.cache_clear()
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(StylePrompterError, match=r"install .*styleprompter_jax\[s3\]"):
        sp.load("s3://faces/model")
