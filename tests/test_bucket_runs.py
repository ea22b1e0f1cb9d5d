"""Runs in buckets: whole versions, one training at a time, kills at every request.

The tests work on the files of a run, without a model; `soak_buckets.py` trains.
"""

import contextlib
import json
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from emulators import KINDS, running, skip_without_packages, using

from styleprompter_jax.cli import main
from styleprompter_jax.configs import tiny
from styleprompter_jax.core import buckets, fetch, snapshots
from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.images.files import write_image
from styleprompter_jax.store import model_folder
from styleprompter_jax.training.run import place as places
from styleprompter_jax.training.run.place import open_place

skip_without_packages()


@pytest.fixture(scope="module", params=KINDS)
def emulator(request, tmp_path_factory):
    with running(request.param, tmp_path_factory.mktemp("cache")) as emulator:
        yield emulator


@pytest.fixture
def run(emulator, request, monkeypatch):
    """The address of a new run; locks end soon."""
    monkeypatch.setattr(snapshots, "RENEW", 0.3)
    monkeypatch.setattr(snapshots, "EXPIRY", 1.5)
    monkeypatch.setattr(snapshots, "_POLL", 0.1)
    monkeypatch.setattr(places, "_SOON", 0.05)
    # As if every process were on another machine, from which nobody sees the others.
    monkeypatch.setattr(snapshots, "is_gone", lambda *_: False)
    return f"{emulator.address}/{request.node.originalname}"


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """Moves to another machine: one with an empty cache."""

    def move(name):
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / name))

    move("first")
    return move


def write(folder, step):
    """Writes the files of a training at a step."""
    for name in (f"checkpoints/{step}/state/d", "model_best/model.safetensors",
                 "model_best/config.json"):  # fmt: skip
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        partial = file.with_name(".partial")
        partial.write_text(f"{step} of {name}")
        partial.replace(file)
    with (folder / "metrics.jsonl").open("a") as file:
        file.write(f"{step}\n")
    for old in (folder / "checkpoints").iterdir():
        if int(old.name) < step - 2:
            (old / "state/d").unlink()
            (old / "state").rmdir()
            old.rename(folder / f".{old.name}")


def contents(folder):
    """The files of a run that are not hidden."""
    return {
        path.relative_to(folder).as_posix(): path.read_text()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.relative_to(folder).as_posix().startswith(".")
    }


def test_a_run_goes_on_on_another_machine(run, machine):
    with open_place(run) as place, place.owned():
        for step in (2, 4, 6):
            write(place.folder, step)
        first = contents(place.folder)
        (place.folder / "checkpoints/7.orbax-checkpoint-tmp").mkdir()
        (place.folder / "checkpoints/7.orbax-checkpoint-tmp/d").touch()
        (place.folder / ".model_best.partial").touch()
        (place.folder / "samples").mkdir()
        (place.folder / "samples/.1.png.0123abcd-1-0.partial.png").touch()
    assert not place.folder.exists()  # a run that ended well leaves nothing here
    machine("second")
    with open_place(run) as place:
        assert contents(place.folder) == first
        with place.owned():
            write(place.folder, 8)
    there = buckets.listing(buckets.parse(run))
    left_out = "checkpoints/4", "samples/."
    assert not [name for name in there if name.startswith(left_out)]
    best = fetch.local_copy(f"{run}/model_best")
    assert contents(best) == {
        name: f"8 of model_best/{name}" for name in ("config.json", "model.safetensors")
    }


def until(found, seconds=30):
    end = time.monotonic() + seconds
    while not found():
        assert time.monotonic() < end
        time.sleep(0.05)


def sent(run):
    """The paths of the bucket's version."""
    version = snapshots.newest(buckets.parse(run))
    return version.files if version else {}


def test_a_step_that_goes_while_it_is_sent_is_left_out(run, machine, monkeypatch):
    """As in a run that saves faster than the network sends."""
    with open_place(run) as place, place.owned():
        upload = place._upload

        def gone(path, size):
            if path.startswith("checkpoints/2/"):
                raise FileNotFoundError(path)
            return upload(path, size)

        monkeypatch.setattr(place, "_upload", gone)
        write(place.folder, 2)
        write(place.folder, 4)
        until(lambda: "checkpoints/4/state/d" in sent(run))
        assert "checkpoints/2/state/d" not in sent(run)
        monkeypatch.undo()


def test_no_version_lacks_a_model_that_is_replaced(run, machine):
    with open_place(run) as place, place.owned():
        best, aside = place.folder / "model_best", place.folder / ".model_best.old"
        write(place.folder, 2)
        until(lambda: "model_best/config.json" in sent(run))
        best.rename(aside)
        step = place.folder / "checkpoints/4/state"
        step.mkdir(parents=True)
        (step / "d").write_text("4")
        time.sleep(1)
        assert "model_best/config.json" in sent(run)
        aside.rename(best)
        until(lambda: "checkpoints/4/state/d" in sent(run))
        assert "model_best/config.json" in sent(run)


def test_a_run_that_the_user_deleted_begins_anew(run, machine, monkeypatch):
    address = buckets.parse(run)
    for is_sent in (False, True):
        with monkeypatch.context() as patch, contextlib.suppress(Killed):
            if not is_sent:
                patch.setattr(places.Staged, "_send", lambda _: None)
            with open_place(run) as place, place.owned():
                write(place.folder, 2)
                raise Killed
        assert ("checkpoints/2/state/d" in sent(run)) == is_sent
        buckets.remove(address / name for name in buckets.listing(address))
        with open_place(run) as place:  # a step that was never sent stays
            assert bool(contents(place.folder)) != is_sent


def test_a_stage_goes_on_from_versions_that_it_made(tmp_path):
    later = tmp_path / "checkpoints/12/d"
    for token, stays in (("abc", True), ("xyz", False)):
        later.parent.mkdir(parents=True, exist_ok=True)
        later.touch()
        (tmp_path / places.BASE).write_text("manifest@first.1\n@abc.")
        version = snapshots.Snapshot(1, f"manifest@{token}.3", {}, {})
        run = buckets.parse("s3://runs/one")
        places._pull(run, tmp_path, version, exact=False)
        assert later.exists() == stays
    assert not (tmp_path / "checkpoints").exists()  # no step without files


def test_a_large_file_may_grow_while_it_is_sent(run, machine, monkeypatch):
    """As the events of TensorBoard and metrics.jsonl do."""
    upload = buckets.upload

    def grow(file, address, size):
        with file.open("a") as opened:
            opened.write("more")
        upload(file, address, size)

    with open_place(run) as place:
        monkeypatch.setattr(buckets, "_SMALL", 0)
        monkeypatch.setattr(buckets, "upload", grow)
        place._writer.acquire()
        (place.folder / "events").write_text("first")
        place._send()
        assert fetch.local_copy(f"{run}/events").read_text() == "first"


def test_an_attempt_without_a_version_leaves_no_objects(run, machine, monkeypatch):
    with open_place(run) as place:
        place._writer.acquire()
        upload = place._upload

        def gone(path, size):
            if path == "metrics.jsonl":
                raise FileNotFoundError(path)
            return upload(path, size)

        for step in (2, 4):
            write(place.folder, step)
            with monkeypatch.context() as patch, pytest.raises(FileNotFoundError):
                patch.setattr(place, "_upload", gone)
                place._send()
        place._send()
        there = buckets.listing(buckets.parse(run))
        named = {part.object for part in sent(run).values()}
        assert {name for name in there if "@" in name} - named == {
            place._writer.manifest
        }


def refuse_a_second(run):
    with (
        open_place(run) as other,
        pytest.raises(StylePrompterError, match=f"Another training runs in {run}"),
        other.owned(),
    ):
        pytest.fail("two trainings own a run")


def test_one_training_at_a_time(run, machine):
    with open_place(run) as place, place.owned():
        write(place.folder, 2)
        with pytest.raises(StylePrompterError, match=f"Another training runs in {run}"):
            open_place(run).__enter__()  # on this machine
        machine("second")
        refuse_a_second(run)
        place.check()


def test_a_file_is_no_workdir(run, machine):
    address = buckets.parse(run)
    buckets.write(address, b"an image")
    with (
        pytest.raises(StylePrompterError, match=f"{run} is a file"),
        open_place(run) as place,
        place.owned(),
    ):
        pytest.fail("a file is a workdir")
    assert [*buckets.listing(address)] == []
    buckets.remove([address])


def test_a_slow_network_does_not_lose_the_lock(run, machine, monkeypatch):
    slow, write_object = threading.Event(), buckets.write

    def write_slowly(address, content):
        if "metrics" in address.name:
            slow.wait(4)  # more than twice as long as a lock lasts
        write_object(address, content)

    monkeypatch.setattr(buckets, "write", write_slowly)
    with open_place(run) as place, place.owned():
        write(place.folder, 2)
        machine("second")
        refuse_a_second(run)
        slow.set()


def test_a_training_that_lost_its_lock_changes_nothing(run, machine, monkeypatch):
    frozen, asleep = threading.Event(), threading.Event()
    lost = pytest.raises(StylePrompterError, match=f"Another training took over {run}")
    with lost, open_place(run) as place, place.owned():
        write(place.folder, 2)
        while not sent(run).get("metrics.jsonl", (0, 0))[1]:
            frozen.wait(0.05)
        # The process sleeps: it neither renews nor sends.
        monkeypatch.setattr(place, "_send", lambda: asleep.set() or frozen.wait(60))
        write(place.folder, 3)
        assert asleep.wait(60)  # the sending of before has ended
        monkeypatch.setattr(place._writer, "renew", lambda: frozen.wait(60))
        with place._writer._entry:
            machine("second")  # not amid a renewal
        with open_place(run) as other, other.owned():
            write(other.folder, 4)
            now = contents(other.folder)
        monkeypatch.undo()
        write(place.folder, 99)
        frozen.set()
        while True:
            place.check()
    with using({}, place.folder.parents[3] / "third"), open_place(run) as third:
        assert contents(third.folder) == now


class Killed(BaseException):
    """The end of the process."""


def counted(work, left):
    """A function like ``work`` that kills when nothing is left."""

    def call(*args):
        if next(left, None) is None:
            raise Killed
        return work(*args)

    return call


def test_a_kill_at_any_request_leaves_one_whole_version(run, machine, monkeypatch):
    with open_place(run) as place, place.owned():
        write(place.folder, 2)
    monkeypatch.setattr(snapshots, "is_gone", lambda *_: True)
    requests = ("write", "create", "remove")
    for kill in range(0, 60, 1 if run.startswith("gs") else 7):
        machine(f"killed{kill}")

        left, done = iter(range(kill)), False
        with monkeypatch.context() as patch, contextlib.suppress(Killed):
            for name in requests:
                patch.setattr(buckets, name, counted(getattr(buckets, name), left))
            with open_place(run) as place:
                before = after = contents(place.folder)
                place._writer.acquire()
                place._writer.sweep()
                write(place.folder, 4 + 2 * kill)
                after = contents(place.folder)
                place._send()
                place._writer.release()
            done = True
        machine(f"reader{kill}")
        with open_place(run) as reader:
            now = contents(reader.folder)
        assert now == after if done else now in (before, after)
        if done:
            break
    assert kill > 8


def test_damaged_and_missing_parts(run, machine, caplog):
    with open_place(run) as place, place.owned():
        write(place.folder, 2)
        write(place.folder, 4)
    version = snapshots.newest(buckets.parse(run))
    for path, change in (("checkpoints/4/state/d", b"x"), ("metrics.jsonl", None)):
        part = buckets.parse(run) / version.files[path].object
        buckets.remove([part])
        if change:
            buckets.write(part, change)
    machine("second")
    with open_place(run) as place:  # the restore finds the damage
        found = contents(place.folder)
    assert found["checkpoints/4/state/d"] == "x" and "metrics.jsonl" not in found
    for name, said in (("checkpoints", "came damaged"), ("metrics.jsonl", "missing")):
        with pytest.raises(StylePrompterError, match=said):
            fetch.local_copy(f"{run}/{name}")


@pytest.mark.slow
def test_everything_of_a_training_is_in_a_bucket(tmp_path, tiny_folder, capsys):
    rng = np.random.default_rng(0)
    for k in range(12):
        image = rng.integers(0, 256, (32, 32, 3), np.uint8)
        write_image(image, tmp_path / "photos" / f"{k}.png")
    with running("gs", tmp_path / "cache") as emulator:
        bucket = buckets.parse(emulator.address)
        for folder in (tmp_path / "photos", tiny_folder):
            for file in folder.iterdir():
                buckets.write(bucket / folder.name / file.name, file.read_bytes())
        buckets.write(bucket / "tiny.py", Path(tiny.__file__).read_bytes())
        call = [
            "train", f"--config={bucket}/tiny.py:encoder", f"--workdir={bucket}/run",
            f"--config.init_from={bucket}/tiny", "--config.data.name=folder",
            f"--config.data.path={bucket}/photos", "--config.data.train_split=[4:]",
            "--config.data.eval_split=[:4]", "--config.checkpoint_every=1",
        ]  # fmt: skip
        assert main([*call, "--config.total_steps=1"]) == 0, capsys.readouterr().err
        assert f"The model is in {bucket}/run/model\n" in capsys.readouterr().out
        with using({}, tmp_path / "another machine"):
            assert main([*call, "--config.total_steps=2"]) == 0, capsys.readouterr().err
            run = fetch.local_copy(f"{bucket}/run")
            rows = (run / "metrics.jsonl").read_text().splitlines()
            steps = [json.loads(row)["step"] for row in rows if '"train"' in row]
            assert steps == [1, 2]  # it went on
            for name in ("model", "model_best"):
                model_folder.load_model(f"{bucket}/run/{name}")
