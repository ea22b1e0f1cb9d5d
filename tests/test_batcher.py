"""The batches of the studio's model."""

import threading
import time

import numpy as np
import pytest

from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.web.batcher import Batcher, Work, _fill
from styleprompter_jax.web.limits import Refused


class Gate:
    """Work that waits until it is let go, and counts its batches."""

    def __init__(self):
        self.sizes, self.open = [], threading.Event()
        self.seen = set()

    def __call__(self, rows):
        self.open.wait(10)
        self.sizes.append(len(rows))
        self.seen.update(rows[:, 0].tolist())
        if (rows < 0).any():
            raise StylePrompterError("Below zero.")
        return rows * 2


@pytest.fixture
def batcher():
    made = Batcher(waiting=16, largest=4)
    yield made
    made.stop()


def row(number):
    return np.full((1, 2), number, np.float32)


def test_rows_of_many_share_batches(batcher):
    gate = Gate()
    work, other = Work("a", None, gate), Work("a", "tuned", gate)
    gate.open.set()
    for _ in range(50):  # until larger batches are ready, which others do not wait for
        jobs = [batcher.submit(other if k == 3 else work, row(k)) for k in range(9)]
        for k, job in enumerate(jobs):
            np.testing.assert_array_equal(job.result(10), row(2 * k))
        if max(batcher.batches) == 4:
            break
    assert max(batcher.batches) == 4 and set(gate.sizes) <= {1, 2, 4}


def test_large_batches_run_at_the_same_time():
    batcher, gate = Batcher(waiting=16, largest=4, threads=2), Gate()
    work, end = Work("a", None, gate), time.monotonic() + 20
    gate.open.set()
    while max(batcher.batches, default=0) < 4 and time.monotonic() < end:
        for job in [batcher.submit(work, row(k)) for k in range(9)]:
            job.result(10)
    gate.open.clear()
    jobs = [batcher.submit(work, row(1))]
    while len(batcher) and time.monotonic() < end:
        pass
    jobs.append(batcher.submit(work, row(2)))
    time.sleep(0.1)
    assert len(batcher) == 1  # a batch of one waits for others
    jobs.append(batcher.submit(work, row(3)))
    while len(batcher) and time.monotonic() < end:
        pass
    assert not len(batcher)
    gate.open.set()
    assert [job.result(10)[0, 0] for job in jobs] == [2, 4, 6]
    batcher.stop()


@pytest.mark.parametrize(
    "waiting, sizes, taken",
    [
        (5, [1], 1),
        (3, [1, 2, 4], 3),
        (5, [1, 2, 4, 8], 4),
        (6, [8, 1, 4, 2], 6),
        (9, [1, 2, 4, 8], 8),
    ],
)
def test_a_batch_is_nearly_full(waiting, sizes, taken):
    assert _fill(waiting, sizes) == taken


def test_a_bad_row_does_not_end_the_work(batcher):
    gate = Gate()
    gate.open.set()
    bad = batcher.submit(Work("a", None, gate), row(-1))
    with pytest.raises(StylePrompterError, match="Below zero"):
        bad.result(10)
    assert batcher.submit(Work("a", None, gate), row(1)).result(10)[0, 0] == 2


def test_a_bad_row_fails_alone(batcher):
    """Also if the program for larger batches runs with it first."""
    gate, end = Gate(), time.monotonic() + 30
    work = Work("a", None, gate)
    while 4 not in gate.sizes:  # until the bad row was in a batch with others
        assert time.monotonic() < end
        gate.open.clear()
        first = batcher.submit(work, row(5))
        while len(batcher):  # until a thread has it
            pass
        jobs = [batcher.submit(work, row(k)) for k in (-1, 2, 3, 4)]
        gate.open.set()
        assert first.result(10)[0, 0] == 10
        with pytest.raises(StylePrompterError, match="Below zero"):
            jobs[0].result(10)
        assert [job.result(10)[0, 0] for job in jobs[1:]] == [4, 6, 8]


def test_a_full_queue_says_so_and_nobody_who_left_is_computed(batcher):
    gate = Gate()
    work = Work("a", None, gate)
    first = batcher.submit(work, row(0))
    while len(batcher):  # until the thread has it
        pass
    waiting = [batcher.submit(work, row(k)) for k in range(16)]
    with pytest.raises(Refused, match="16 requests wait") as refused:
        batcher.submit(work, row(9))
    assert refused.value.status == 503
    for job in waiting[1:]:
        assert job.cancel()
    late = batcher.submit(work, row(5))  # those who left make room
    gate.open.set()
    for job in (first, waiting[0], late):
        assert job.result(10) is not None
    batcher.submit(work, row(5)).result(10)
    assert gate.seen == {0, 5}  # of those who stayed


def test_what_waits_is_told_when_the_server_stops():
    batcher, gate = Batcher(waiting=4, largest=4), Gate()
    running = batcher.submit(Work("a", None, gate), row(0))
    while len(batcher):
        pass
    waiting = batcher.submit(Work("a", None, gate), row(1))
    threading.Timer(0.05, gate.open.set).start()
    batcher.stop()
    assert running.result(10)[0, 0] == 0
    for refused in (waiting.result, lambda n: batcher.submit(None, row(1))):
        with pytest.raises(Refused, match="stopping"):
            refused(10)
