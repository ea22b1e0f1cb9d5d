"""Two programs that write one folder: one after the other, and nothing is lost."""

import contextlib
import logging
import os
import shutil
import threading
import time

import numpy as np
import pytest

from styleprompter_jax.cli import main
from styleprompter_jax.core import lock as locks
from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.core.lock import folder_lock
from styleprompter_jax.core.paths import local_path
from styleprompter_jax.store import model_folder


@contextlib.contextmanager
def beside(folder, caplog, work):
    """Calls ``work()``, which has to wait for ``folder`` until the block ends."""
    results = []
    thread = threading.Thread(target=lambda: results.append(work()))
    with caplog.at_level(logging.WARNING), folder_lock(folder):
        thread.start()
        while "Waiting for another program" not in caplog.text:
            assert thread.is_alive(), "it did not wait"
            time.sleep(0.01)
        yield results
    thread.join()


@pytest.fixture
def model(tiny_folder, tmp_path):
    return shutil.copytree(tiny_folder, tmp_path / "model")


@pytest.mark.parametrize(
    "command", ["convert", pytest.param("directions", marks=pytest.mark.slow)]
)
def test_no_direction_is_lost(command, model, tmp_path, caplog):
    np.save(tmp_path / "new.npy", np.ones(16, np.float32))
    call = {
        "convert": ("convert", tmp_path / "new.npy", model),
        "directions": ("directions", "--model", model, "--method", "sefa",
                       "--components", 1, "--count", 20),
    }[command]  # fmt: skip
    with beside(model, caplog, lambda: main([*map(str, call)])) as codes:
        known = model_folder.load_directions(model)
        model_folder.save_directions(model, known | {"other": known["smile"]})
    assert codes == [0]
    new = {"convert": "new", "directions": "sefa_0"}[command]
    assert model_folder.load_directions(model).keys() == {"smile", "hat", "other", new}


def test_a_folder_that_another_one_made_meanwhile(model, tmp_path, caplog):
    """As two calls of `convert` with one folder would."""
    new, (config, variables, _) = tmp_path / "new", model_folder.load_model(model)

    def work():
        with pytest.raises(StylePrompterError, match="new exists"):
            model_folder.save_model(new, config, variables, replace=False)

    with beside(new, caplog, work):
        shutil.copytree(model, new)
    assert model_folder.load_directions(new).keys() == {"smile", "hat"}


def test_nothing_is_left(model, tmp_path, monkeypatch):
    inside = sorted(os.listdir(model))
    model_folder.save_model(model, *model_folder.load_model(model)[:2])
    assert os.listdir(tmp_path) == ["model"]
    with folder_lock(model):
        assert sorted(os.listdir(tmp_path)) == [".model.lock", "model"]
    with pytest.raises(KeyError), folder_lock(tmp_path / ("ü" * 120)):
        raise KeyError
    monkeypatch.setattr(locks.os, "access", lambda *_: False)
    with folder_lock(model):
        assert os.listdir(tmp_path) == ["model"]
    assert set(os.listdir(model)) <= set(inside)


def test_many_at_once(tmp_path):
    """A removed lock file never lets two in."""
    entered, inside = [], []

    def count():
        for _ in range(30):
            with folder_lock(tmp_path / "folder"):
                inside.append(1)
                assert len(inside) == 1
                entered.append(inside.pop())

    threads = [threading.Thread(target=count) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(entered) == 90


def test_paths_of_users(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    assert str(local_path("~/runs")) == "/home/me/runs"
    assert str(local_path("a/b")) == "a/b"
    for address in ("gs://bucket/run", "s3:/bucket/run"):
        with pytest.raises(StylePrompterError, match="is an address"):
            local_path(address)
    with pytest.raises(StylePrompterError, match="~nobody-here/run begins with"):
        local_path("~nobody-here/run")
