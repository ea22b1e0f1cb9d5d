"""Results in buckets: however a command ends, nothing that it made is lost."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from emulators import KINDS, running, skip_without_packages

from styleprompter_jax.core import buckets, outbox
from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.core.paths import cache_folder

skip_without_packages()
ROOT = Path(outbox.__file__).parents[2]


@pytest.fixture(scope="module", params=KINDS)
def bucket(request, tmp_path_factory):
    with running(request.param, tmp_path_factory.mktemp("cache")) as emulator:
        yield emulator.address


@pytest.fixture
def output(bucket, request, tmp_path, monkeypatch):
    """The address of a new folder; the cache is empty."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return f"{bucket}/{request.node.originalname}"


@outbox.to_bucket("output")
def make(output, text, meanwhile=lambda: None):
    output.mkdir(exist_ok=True)
    for name in "ab":
        (output / name).write_text(text)
    meanwhile()


def kept():
    """What is in the cache, by name."""
    files = [file for file in cache_folder("outputs").rglob("*") if file.is_file()]
    return {file.name: file.read_text() for file in files}


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, OSError])
def test_what_was_not_sent_stays(output, error, monkeypatch, caplog):
    with monkeypatch.context() as patch, pytest.raises(error):
        patch.setattr(buckets, "upload", lambda *_: (_ for _ in ()).throw(error))
        make(output, "made")
    (folder,) = cache_folder("outputs").iterdir()
    assert f"They are in {folder}" in caplog.text
    make(output, "later")
    assert kept() == {"a": "made", "b": "made"}


def test_a_kill_amid_the_sending_loses_nothing(output):
    code = f"""
import os, signal, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from styleprompter_jax.core import buckets
import test_outbox
buckets.upload = lambda *_: os.kill(os.getpid(), signal.{{0}})
test_outbox.make({output!r}, "made", lambda: {{1}})
"""
    for name, meanwhile in (("SIGKILL", "None"), ("SIGTERM", "buckets.upload()")):
        command = [sys.executable, "-c", code.format(name, meanwhile)]
        killed = subprocess.run(command, cwd=ROOT)
        assert killed.returncode == -getattr(signal, name)
    make(output, "later")  # it removes only what was not complete
    assert kept() == {"a": "made", "b": "made"}


def test_two_commands_at_once_lose_nothing(output):
    make(output, "first")
    folder = buckets.parse(output)
    with pytest.raises(StylePrompterError, match="Another program changed") as error:
        make(output, "second", lambda: make(output, "third"))
    assert "\n" not in str(error.value) and f"changed {output} while" in str(
        error.value
    )
    assert buckets.read(folder / "a") == b"third"
    assert kept() == {"a": "second", "b": "second"}
    # Other objects may change.
    make(output, "fourth", lambda: buckets.write(folder / "notes", b"mine"))
    assert buckets.read(folder / "a") == b"fourth"
    assert buckets.read(folder / "notes") == b"mine"


def test_a_file_that_two_commands_write(output):
    @outbox.to_bucket("output", file=True)
    def pack(output, text, meanwhile=lambda: None):
        output.write_text(text)
        meanwhile()

    with pytest.raises(StylePrompterError, match="Another program changed"):
        pack(output, "first", lambda: pack(output, "second"))
    assert buckets.read(buckets.parse(output)) == b"second"
