"""Progress of long work."""

import logging
import os
import time

from styleprompter_jax.core import progress
from styleprompter_jax.core.progress import Progress


def test_a_log_gets_lines(monkeypatch, capsys, caplog):
    monkeypatch.setattr(progress, "PERIOD", 0.05)
    with (
        caplog.at_level(logging.INFO),
        Progress(total=4, desc="tuning", unit="step") as bar,
    ):
        bar.update(3)
        bar.set_postfix(loss=2, refresh=False)
        end = time.monotonic() + 20
        while not caplog.messages and time.monotonic() < end:
            time.sleep(0.01)
    assert caplog.messages[0].startswith("tuning: 3 of 4, 00:0")
    assert capsys.readouterr() == ("", "")


def test_short_work_tells_nothing(capsys, caplog):
    with caplog.at_level(logging.INFO):
        assert [*Progress(range(3), unit="image")] == [0, 1, 2]
    assert capsys.readouterr() == ("", "") and not caplog.messages


def test_a_terminal_gets_a_bar(monkeypatch, capsys):
    monkeypatch.setattr(os, "isatty", lambda number: True)
    for _ in Progress(range(3), unit="image", ncols=60, ascii=True):
        pass
    assert "3/3" in (shown := capsys.readouterr().err) and "#" in shown
