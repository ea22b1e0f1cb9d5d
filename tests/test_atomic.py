"""Files and folders that appear whole, whatever happens to the process or the disk."""

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from styleprompter_jax.convert.links import shelf
from styleprompter_jax.core import atomic
from styleprompter_jax.core.atomic import atomic_folder, atomic_path, repair_folder
from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.data.tfds import not_writable
from styleprompter_jax.editing.latents import Latents
from styleprompter_jax.store import model_folder
from styleprompter_jax.training.run import workdir
from styleprompter_jax.training.run.checkpoint import Checkpoints

ROOT = Path(atomic.__file__).parents[2]


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def killed(code):
    """Runs Python that kills itself."""
    head = "import os, signal\nfrom pathlib import Path\n"
    head += "from styleprompter_jax.core.atomic import *\n"
    result = subprocess.run([sys.executable, "-c", head + code], cwd=ROOT)
    assert result.returncode == -signal.SIGKILL


KILL = "os.kill(os.getpid(), signal.SIGKILL)"


@pytest.mark.parametrize("name", ["a" * 255, "a" * 251 + ".png", "ü" * 127, "a.png"])
def test_names_of_any_length(tmp_path, name):
    with atomic_path(tmp_path / name) as partial:
        partial.write_text("whole")
        assert partial.suffix in ("", ".png") or partial.name.endswith(".partial")
    assert names(tmp_path) == [name] and (tmp_path / name).read_text() == "whole"


def test_folders_of_any_depth(tmp_path):
    path = tmp_path.joinpath(*["d"] * 1050, "a.txt")
    with atomic_path(path) as partial:
        partial.write_text("whole")
    assert path.read_text() == "whole"
    for _ in range(1050):  # pytest's own clearing is recursive
        path.unlink() if path.is_file() else path.rmdir()
        path = path.parent


@pytest.mark.parametrize("name", ["a\0b", "\ud800", "x" * 256, "file/a"])
def test_what_cannot_be_a_name_is_one_sentence(tmp_path, name):
    (tmp_path / "file").write_text("")
    with pytest.raises(StylePrompterError) as error, atomic_path(tmp_path / name):
        pass
    assert "\n" not in str(error.value) and names(tmp_path) == ["file"]


def test_a_link_to_a_file_is_replaced_and_what_it_points_to_stays(tmp_path):
    (tmp_path / "mine").write_text("mine")
    (tmp_path / "link.npz").symlink_to("mine")
    Latents(np.zeros((1, 2, 3))).save(tmp_path / "link.npz")
    assert (tmp_path / "mine").read_text() == "mine"
    assert Latents.load(tmp_path / "link.npz").w_plus.shape == (1, 2, 3)


def test_what_a_killed_process_left_is_swept(tmp_path):
    for what in ("p.write_text('half')", "p.mkdir(); (p / 'a').write_text('half')"):
        path = str(tmp_path / "a.png")
        killed(f"with atomic_path({path!r}) as p: {what}; {KILL}")
    mine = [".notes.partial", ".a.png.12345678-1-0.partial.png"]  # of another machine
    for name in mine:
        (tmp_path / name).write_text("mine")
    assert len(names(tmp_path)) == 3  # the second run removed the file of the first
    with atomic_path(tmp_path / "b.png") as partial:
        partial.write_text("whole")
        atomic._swept.clear()
        with atomic_path(tmp_path / "c.png") as other:
            other.write_text("whole")
    assert names(tmp_path) == sorted([*mine, "b.png", "c.png"])


PARTS = ["config", "weights"]
FILL = "for n in ('config', 'weights'): (p / n).write_text('new')"


@pytest.fixture
def folder(tmp_path):
    """A folder of before, with notes of a user."""
    folder = tmp_path / "at" / "model"
    folder.mkdir(parents=True)
    for name in (*PARTS, "notes"):
        (folder / name).write_text("old")
    return folder


def content(folder):
    return {path.name: path.read_text() for path in folder.iterdir()}


NEW = {"config": "new", "weights": "new", "notes": "old"}


def replace(folder):
    with atomic_folder(folder, PARTS) as partial:
        for name in PARTS:
            (partial / name).write_text("new")


@pytest.mark.parametrize("count", range(1, 6))
def test_a_kill_amid_the_replacement_loses_nothing(folder, count):
    """At each of the calls that change names."""
    code = f"""
count = 0
def counted(call):
    def counting(*args, **options):
        global count
        count += 1
        if count == {count}: {KILL}
        return call(*args, **options)
    return counting
os.rename, os.mkdir, os.rmdir = map(counted, (os.rename, os.mkdir, os.rmdir))
os.unlink = counted(os.unlink)
with atomic_folder({str(folder)!r}, {PARTS!r}) as p:
    {FILL}
"""
    killed(code)
    repair_folder(folder)
    found = content(folder)
    assert {found["config"], found["weights"]} in ({"old"}, {"new"})
    replace(folder)
    assert content(folder) == NEW and names(folder.parent) == ["model"]


def test_what_version_0_1_left_is_brought_back(folder):
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    old = folder.with_name(f".model.{process.pid}.old")
    folder.rename(old)
    repair_folder(folder)
    assert content(folder)["notes"] == "old"
    folder.rename(old.with_name(f".model.{os.getppid()}.old"))
    repair_folder(folder)  # of a process that lives
    assert not folder.exists()


def test_an_error_leaves_the_folder_of_before(folder):
    before = content(folder)
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    told = pytest.raises(
        StylePrompterError, match=r"cannot be written \(No space.*: free space"
    )
    with told, atomic_folder(folder, PARTS) as partial:
        (partial / "config").write_text("new")
        raise full
    assert content(folder) == before and names(folder.parent) == ["model"]


def test_a_model_saved_to_a_link(tmp_path, tiny_variables):
    from conftest import TINY

    (tmp_path / "disk" / "v1").mkdir(parents=True)
    (tmp_path / "model").symlink_to("disk/v1")
    for _ in range(2):
        told = model_folder.save_model(tmp_path / "model", TINY, tiny_variables)
        assert told == tmp_path / "model" and told.is_symlink()
        assert names(tmp_path) == ["disk", "model"]
        assert names(tmp_path / "disk") == ["v1"]
        assert names(tmp_path / "disk" / "v1") == ["config.json", "model.safetensors"]


def test_a_model_is_found_after_a_kill(tmp_path, tiny_folder):
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    left = tmp_path / f".model.{atomic.machine()}-{process.pid}-0.old"
    left.symlink_to(tiny_folder)
    assert model_folder.load_model(tmp_path / "model")[2].keys() == {"smile", "hat"}


@pytest.mark.parametrize(
    "error",
    [
        PermissionError(errno.EACCES, os.strerror(errno.EACCES)),
        NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR)),
        OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
    ],
    ids=lambda error: error.strerror,
)
def test_only_a_full_disk_needs_free_space(tmp_path, error):
    checkpoints = Checkpoints(tmp_path / "checkpoints", {})
    said = [
        str(not_writable(tmp_path, error)),
        str(checkpoints._failed(ValueError(f"a library: {error}"))),
    ]
    checkpoints._manager.close()
    for writing in (atomic.writing, workdir.writing, shelf.written):
        with pytest.raises(StylePrompterError) as told, writing(tmp_path):
            raise error
        said.append(str(told.value))
    for text in said:
        assert f"{tmp_path}" in text and error.strerror in text
        assert ("free space" in text) == (error.errno == errno.ENOSPC), text
