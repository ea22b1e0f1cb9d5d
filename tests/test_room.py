"""Memory for images: threads wait for each other, and no thread waits for itself."""

import itertools
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from styleprompter_jax.images.room import Room


def test_threads_hold_no_more_than_there_is():
    room, lock, used, most = Room(10), threading.Lock(), 0, []

    def work(amount):
        nonlocal used
        with room.take(amount):
            with lock:
                used += min(amount, 10)
                most.append(used)
            with room.take(9):  # it has some already
                pass
            threading.Event().wait(0.002)
            with lock:
                used -= min(amount, 10)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, [1, 4, 10, 3, 6, 99, 2, 5] * 5))
    assert max(most) <= 10 and len(most) == 40
    assert any(a < b for a, b in itertools.pairwise(most))  # some at once


def test_room_comes_back_after_an_error():
    room = Room(1)
    with pytest.raises(ValueError, match="amid"), room.take(1):
        raise ValueError("amid")
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(lambda: room.take(1).__enter__()).result(5) is None
