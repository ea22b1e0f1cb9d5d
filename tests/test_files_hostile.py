"""Files that are broken or meant to harm are refused, in one sentence."""

import json
import os
import pathlib
import re
import subprocess
import sys

import pytest
import watched
from hostile_files import hostile_files
from weight_files import good_files

from styleprompter_jax.cli import main
from styleprompter_jax.convert.reading.files import read_file
from styleprompter_jax.core.errors import StylePrompterError

CASES = hostile_files()
WAY_OUT = r"download|save|unpack|do not use|name the|fetch|use the PyTorch version"


@pytest.fixture(scope="module")
def reports(tmp_path_factory):
    """Reports of each file, read one after the other in one watched process."""
    folder = tmp_path_factory.mktemp("hostile")
    good = good_files()
    for name, content in good.items():
        (folder / name).write_bytes(content)
    for name, (content, _) in CASES.items():
        (folder / name).write_bytes(content)
    child = subprocess.run(
        [sys.executable, watched.__file__, str(len(good)), *good, *CASES],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(pathlib.Path(__file__).parents[1])},
        capture_output=True,
        timeout=120,
        check=False,
    )
    assert child.returncode == 0, child.stderr.decode()
    assert not child.stderr, child.stderr.decode()
    assert not (folder / "CANARY").exists()
    return json.loads(child.stdout)


def test_there_are_many():
    assert len(CASES) > 200


@pytest.mark.parametrize("name", CASES)
def test_hostile_file(reports, name):
    report = reports[name]
    assert report["outcome"] == "refused", report
    assert report["events"] == []
    assert report["seconds"] < 5
    message = report["message"]
    assert message.startswith(name)
    assert CASES[name][1] in message
    assert re.search(WAY_OUT, message)
    assert message.endswith(".") and message.isascii() and message.isprintable()
    assert len(message) < 400


def test_the_command_leaves_nothing(tmp_path, capsys):
    """One message for each third of them, and no model folder, whole or half."""
    for name in list(CASES)[::3]:
        file = tmp_path / name
        file.write_bytes(CASES[name][0])
        assert main(["convert", str(file), str(tmp_path / "model")]) == 1, name
        out, err = capsys.readouterr()
        assert not out and name in err and "Traceback" not in err
        assert list(tmp_path.iterdir()) == [file], name
        file.unlink()


def test_good_files_raise_no_alarm(reports):
    for name in good_files():
        assert reports[name]["outcome"] == "read", reports[name]
        what = "official StylePrompter, full, 8 px, 4 codes, refined layer 2"
        assert reports[name]["what"] == (what if name == "checkpoint.pt" else "")
        assert reports[name]["events"] == []


def test_the_watch_sees(tmp_path):
    """Each kind of thing that a file might do, done by hand, is reported."""
    program = f"""
import sys; sys.path.insert(0, {str(pathlib.Path(__file__).parent)!r})
import os, watched
watched.warm_up([])
found = []
for act in (
    lambda path: os.system("true"),
    lambda path: exec("1"),
    lambda path: open("made", "w").close(),
    lambda path: __import__("antigravity_"),
):
    watched.read_file = act
    found.append(watched.watch("x")["events"])
print(found)
"""
    child = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(pathlib.Path(__file__).parents[1])},
        capture_output=True,
        text=True,
        check=True,
    )
    for act in ("os.system", "exec", "open made", "import antigravity_"):
        assert act in child.stdout


def test_no_regular_file(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe"):
        with pytest.raises(StylePrompterError, match="folder or device"):
            read_file(path)
    with pytest.raises(StylePrompterError, match="There is no file"):
        read_file(tmp_path / "missing.pt")
