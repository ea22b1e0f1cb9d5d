"""Progress of long work."""

import logging
import os
import threading
import time

import numpy as np
import pytest

from styleprompter_jax.cli.surroundings import orderly
from styleprompter_jax.core import progress
from styleprompter_jax.core.progress import Progress
from styleprompter_jax.evaluation import classifier


def test_a_log_gets_lines(monkeypatch, capsys, caplog):
    monkeypatch.setattr(progress, "PERIOD", 0.05)
    with (
        caplog.at_level(logging.INFO),
        Progress(total=4, desc="tuning", unit="step") as bar,
    ):
        bar.update(3)
        bar.set_postfix(loss=2, refresh=False)
        end = time.monotonic() + 20
        while time.monotonic() < end:
            time.sleep(0.01)
            if any(line.startswith("tuning: 3 of 4, 00:") for line in caplog.messages):
                break
        else:
            pytest.fail("no line tells the progress")
    # No bar: a handler of another test may print the records.
    assert "\r" not in "".join(capsys.readouterr())


def test_lines_count_the_items(monkeypatch, caplog):
    monkeypatch.setattr(progress, "PERIOD", 0.05)
    with caplog.at_level(logging.INFO):
        for k in Progress(range(3), unit="image"):
            end = time.monotonic() + 20
            while k == 1 and not any("1 of 3, " in line for line in caplog.messages):
                assert time.monotonic() < end
                time.sleep(0.01)
        time.sleep(0.1)  # for a line that has just begun
        caplog.clear()
        time.sleep(0.2)
    # The lines end with the work.
    assert not any(" of 3" in line for line in caplog.messages)


def test_a_bar_that_nobody_uses_tells_nothing(monkeypatch, caplog):
    monkeypatch.setattr(progress, "PERIOD", 0.02)
    with caplog.at_level(logging.INFO):
        unused = Progress(range(3), unit="image")
        monkeypatch.setenv("TQDM_DISABLE", "1")
        off = Progress(range(3), disable=True)
        assert [*off] == [0, 1, 2]
        time.sleep(0.1)
    assert not any(" of 3" in line for line in caplog.messages)
    assert unused.n == 0


def test_lines_do_not_mix_with_results(capsys):
    def work():
        progress.log.info("1 of 3")
        print("a result")

    assert orderly(work) == 0
    out, err = capsys.readouterr()
    assert out == "a result\n" and "1 of 3\n" in err


def test_short_work_tells_nothing(capsys, caplog):
    with caplog.at_level(logging.INFO):
        assert [*Progress(range(3), unit="image")] == [0, 1, 2]
    assert "image" not in "".join(capsys.readouterr())
    assert not any(" of 3" in line for line in caplog.messages)


def test_a_terminal_gets_a_bar(monkeypatch, capsys):
    monkeypatch.setattr(os, "isatty", lambda number: True)
    for _ in Progress(range(3), unit="image", ncols=60, ascii=True):
        pass
    assert "3/3" in (shown := capsys.readouterr().err) and "#" in shown


def test_lines_end_with_an_exception_that_a_notebook_keeps(monkeypatch, caplog):
    def fail(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(progress, "PERIOD", 0.02)
    monkeypatch.setattr(classifier, "_train_step", fail)
    images = np.zeros((2, 64, 64, 3), np.float32)
    with pytest.raises(KeyboardInterrupt) as kept:
        classifier.train(images, {"smile": np.array([False, True])}, steps=3)
    with caplog.at_level(logging.INFO), pytest.raises(KeyboardInterrupt):
        time.sleep(0.2)
        raise kept.value
    assert not any(" of 3" in line for line in caplog.messages)
    before = threading.active_count()
    with Progress(range(3)) as bar:
        for _ in bar:  # begins no second thread
            assert threading.active_count() <= before + 1
