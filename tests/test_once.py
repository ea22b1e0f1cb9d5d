"""Code that all share, and that nobody may write a second time."""

import ast
import hashlib
from pathlib import Path

import pytest

from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.core.json_files import read_json, write_json
from styleprompter_jax.core.problems import Problems, refuse
from styleprompter_jax.core.sums import json_sha256, sha256

PACKAGE = Path(__file__).parents[1] / "styleprompter_jax"
# By the name of a function: the only files that may call it.
ONCE = {
    "file_digest": {"core/sums.py"},
    # Within a folder that is written whole.
    "write_text": {
        "core/atomic.py",
        "store/model_folder.py",
        "training/run/workdir.py",
    },
    "write_bytes": {
        "export/jax_programs.py",
        "export/onnx_programs.py",
        "web/static.py",
    },
    "scale_by_adam": {"ops/descent.py"},
}


def called(source: str) -> set[str]:
    """The names of the methods that code calls."""
    calls = (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call))
    return {call.func.attr for call in calls if isinstance(call.func, ast.Attribute)}


def test_once_each():
    for file in PACKAGE.rglob("*.py"):
        name = file.relative_to(PACKAGE).as_posix()
        for method in called(file.read_text()) & ONCE.keys():
            assert name in ONCE[method], f"{name} calls {method}"


def test_sums(tmp_path):
    file = tmp_path / "file"
    file.write_bytes(b"abc")
    expected = hashlib.sha256(b"abc").hexdigest()
    assert sha256(file) == sha256(str(file)) == expected
    with file.open("rb") as opened:
        opened.read(1)
        assert sha256(opened) == hashlib.sha256(b"bc").hexdigest()
    assert json_sha256({"a": 1, "b": [2]}) == json_sha256({"b": [2], "a": 1})


def test_json_is_written_whole(tmp_path):
    file = tmp_path / "new" / "file.json"
    write_json(file, {"é": [1.5]})
    with pytest.raises(StylePrompterError, match=r"file\.json was not written"):
        write_json(file, {"loss": float("nan")})
    assert read_json(file) == {"é": [1.5]}
    assert list(file.parent.iterdir()) == [file]


def test_problems_come_together():
    def fail(text):
        raise StylePrompterError(text)

    both = r"\Aone\ntwo\Z"
    with pytest.raises(StylePrompterError, match=both), Problems() as found:
        for text in ("one", "two"):
            with found.gathered():
                fail(text)
    with pytest.raises(KeyError), Problems() as found:  # what comes between is its own
        with found.gathered():
            fail("one")
        raise KeyError
    refuse("All is well:", {})
    with pytest.raises(StylePrompterError) as error:
        refuse("It does not fit:", {"missing": ["a"], "unexpected": ["b"] * 22})
    lines = str(error.value).splitlines()
    assert lines[:4] == [
        "It does not fit:",
        "  missing (1):",
        "    a",
        "  unexpected (22):",
    ]
    assert len(lines) == 3 + 1 + 20 + 1 and lines[-1] == "    and 2 more"
