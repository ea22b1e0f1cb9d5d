"""Signals, also inside a callback of JAX, and what they leave."""

import gc
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from styleprompter_jax.cli import surroundings
from styleprompter_jax.training.run.stopping import Stop

ROOT = Path(surroundings.__file__).parents[1]


@pytest.fixture
def container():
    """The beginning of a command that runs as the first process of its own world."""
    command = ["unshare", "--map-root-user", "--pid", "--fork", "--mount-proc"]
    if shutil.which("unshare") is None or subprocess.run([*command, "true"]).returncode:
        pytest.skip("this system does not let us make namespaces")
    return command


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("first", [False, True])
def test_signals_leave_nothing_half_written(tmp_path, number, first, request):
    code = f"""
import gc, os, signal
from styleprompter_jax.core.atomic import atomic_folder, atomic_path
from styleprompter_jax.cli.surroundings import orderly
signal.signal({number}, signal.SIG_DFL)  # under nohup it would be passed over
before = signal.getsignal({number})
assert orderly(lambda: None) == 0 and signal.getsignal({number}) is before
def work():
    with atomic_path({str(tmp_path / "a.png")!r}) as a:
        a.write_text("half")
        with atomic_folder({str(tmp_path / "model")!r}, []) as b:
            (b / "config.json").write_text("half")
            # JAX has such a callback; Python drops exceptions in it.
            gc.callbacks.append(lambda *_: os.kill(os.getpid(), {number}))
            gc.collect()
orderly(work)
"""
    before = request.getfixturevalue("container") if first else []
    call = [*before, sys.executable, "-c", code]
    done = subprocess.run(call, cwd=ROOT, capture_output=True)
    assert done.returncode == (128 + number if first else -number) and not done.stderr
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("objects", [0, 2_000_000])
def test_an_interruption_inside_a_callback(objects):
    """As in JAX's at garbage collection: Python drops the exception.

    With many objects, the next signal comes during the collection. Python then starts
    to sleep before it looks for signals.
    """

    def inside(*_):
        gc.callbacks.remove(inside)
        signal.raise_signal(signal.SIGINT)

    def work():
        gc.callbacks[:] = [inside]
        gc.collect()
        time.sleep(30)

    heap = [[] for _ in range(objects)]
    others, threads = gc.callbacks[:], set(threading.enumerate())
    began = time.monotonic()
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # also with nohup
    try:
        assert surroundings.orderly(work) == 130
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        # The end of the process would wait for another thread.
        assert all(thread.daemon for thread in {*threading.enumerate()} - threads)
    finally:
        signal.signal(signal.SIGINT, before)
        gc.callbacks[:] = others
    assert time.monotonic() - began < 20
    del heap


def test_an_interruption_waits_for_no_thread():
    code = """
import sys, threading, time
from styleprompter_jax.cli import main
from styleprompter_jax.cli.commands import align
def run(args):
    threading.Thread(target=time.sleep, args=[60]).start()
    print("done", end="")
    raise KeyboardInterrupt
align.run = run
sys.exit(main())
"""
    began = time.monotonic()
    command = [sys.executable, "-c", code, "align", "--input", "a", "--output", "b"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (
        130,
        "done",
        "Interrupted.\n",
    )
    assert time.monotonic() - began < 50


def test_a_signal_inside_a_callback_ends_an_evaluation(capsys):
    """As in JAX's at garbage collection; so does a second signal right after it."""
    others, seen = gc.callbacks[:], []

    def inside(*_):
        seen.append(stop.requested)
        if len(seen) < 3:
            signal.raise_signal(signal.SIGINT)

    def evaluate():
        gc.callbacks[:] = [inside]
        gc.collect()
        time.sleep(30)

    began = time.monotonic()
    try:
        with Stop() as stop:
            stop.at_once(evaluate)
            assert stop.requested
            gc.callbacks[:] = others
            threads = threading.active_count()
            stop.at_once(lambda: pytest.fail("evaluated after a signal"))
            signal.raise_signal(signal.SIGTERM)  # while the run saves
    finally:
        gc.callbacks[:] = others
    assert seen == [False, True] and time.monotonic() - began < 20
    assert threads == threading.active_count() and not capsys.readouterr().err
