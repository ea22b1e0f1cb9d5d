"""Parts of the studio alone: who waits, who is known, how the command begins."""

import asyncio
import itertools
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
import weakref

import numpy as np
import pytest
from starlette.applications import Starlette

from styleprompter_jax.cli import main
from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.web.batcher import Batcher, Work, _fill
from styleprompter_jax.web.jobs import OVER, Job, Jobs
from styleprompter_jax.web.limits import Limits, Refused
from styleprompter_jax.web.server import _listening, make_server, serve
from styleprompter_jax.web.sessions import Clients


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
    gate.open.set()
    assert first.result(10) is not None and waiting[0].result(10) is not None
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


def test_clients_and_their_things_expire():
    now = itertools.count()
    gone = []
    clients = Clients(Limits(idle_seconds=5), gone.append, clock=lambda: next(now))
    first = clients.open()
    name = clients.keep(first, "a thing", 10)
    assert clients.find(first.key).find(name, str) == "a thing"
    for _ in range(5):  # who asks stays
        assert clients.find(first.key) is first
    for _ in range(6):
        next(now)
    with pytest.raises(Refused, match="expired") as refused:
        clients.find(first.key)
    assert refused.value.status == 401 and gone == [first] and clients.used == 0


def test_what_is_kept_is_bounded():
    limits = Limits(clients=3, client_bytes=100, kept_bytes=150)
    clients = Clients(limits)
    first, second = clients.open(), clients.open()
    old = clients.keep(first, "old", 60)
    used = clients.keep(first, "used", 30)
    first.find(old, str)
    clients.keep(first, "new", 40)  # the one that was not used makes room
    assert first.find(old, str) == "old" and first.used == 100
    with pytest.raises(Refused):
        first.find(used, str)
    with pytest.raises(Refused, match="more than 100") as refused:
        clients.keep(first, "huge", 101)
    assert refused.value.status == 413
    with pytest.raises(Refused, match="is full") as refused:
        clients.keep(second, "more", 60)
    assert refused.value.status == 503
    # Nobody who keeps something is driven out by newcomers.
    third = clients.open()
    clients.keep(third, "a", 1)
    newcomers = [clients.open() for _ in range(10)]
    assert len(clients) == 3 and len({one.key for one in newcomers}) == 10
    assert clients.find(first.key) is first and clients.find(third.key) is third


def test_jobs_stay_when_room_is_made():
    clients = Clients(Limits(client_bytes=100))
    client = clients.open()
    job = Job(1)
    name = clients.keep(client, job, 0)
    old = clients.keep(client, "old", 60)
    clients.keep(client, "new", 70)  # only what has a size makes room
    assert client.find(name, Job) is job and client.used == 70
    with pytest.raises(Refused):
        client.find(old, str)


def test_cancelled_jobs_keep_no_memory():
    jobs, gate = Jobs(Limits(jobs=4)), threading.Event()

    class Work:
        def __call__(self, job):
            gate.wait(10)

    works = weakref.WeakSet()

    def start():
        work = Work()
        works.add(work)
        return jobs.start(1, work, [])

    try:
        first = start()
        while first.state == "waiting":
            time.sleep(0.001)
        for _ in range(20):
            start().cancel()
        last = start()
        assert len(jobs) == len(works) == 2
        gate.set()
        while last.state not in OVER:
            time.sleep(0.001)
        assert first.state == last.state == "done" and len(jobs) == 0
    finally:
        gate.set()
        jobs.stop()


def test_a_port_that_is_taken_is_a_sentence(tiny_folder, capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        words = ["studio", "--model", str(tiny_folder), "--port", str(port)]
        assert main(words) == 1
    assert "choose another --port" in capsys.readouterr().err
    with pytest.raises(StylePrompterError, match="cannot listen"):
        serve(None, host="no.such.host.invalid")
    with _listening("127.0.0.1", 0) as listener:
        assert listener.getsockname()[1]


def test_answers_are_sent_at_once():
    async def run(listener):
        server = make_server(Starlette())
        serving = asyncio.create_task(server.serve([listener]))
        reader, writer = await asyncio.open_connection(*listener.getsockname())
        writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")
        (connection,) = server.server_state.connections
        opened = connection.transport.get_extra_info("socket")
        # Otherwise the system waits for more bytes, up to 40 ms.
        assert opened.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        server.should_exit = True
        writer.close()
        await serving

    with socket.create_server(("127.0.0.1", 0)) as listener:
        asyncio.run(run(listener))


SERVER = """
import sys
import styleprompter_jax as sp
from styleprompter_jax.cli.surroundings import orderly
from styleprompter_jax.web.limits import Limits
from styleprompter_jax.web.server import serve

limits = Limits(body_seconds=0.5)
sys.exit(orderly(lambda: serve(sp.load(sys.argv[1]), port=0, limits=limits)))
"""


@pytest.mark.slow
def test_a_server_of_its_own_ends_in_the_middle(tiny_folder, tmp_path):
    command = [sys.executable, "-c", SERVER, str(tiny_folder)]
    scratch = os.environ | {"TMPDIR": str(tmp_path)}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env=scratch
    ) as run:
        address = run.stdout.readline().removeprefix("Studio: ").strip()
        with urllib.request.urlopen(f"{address}api/health", timeout=60) as answer:
            assert answer.read().startswith(b'{"status":"ok"')
        host, port = address.removeprefix("http://").strip("/").split(":")
        place = host, int(port)
        # Who never sends all headers is not waited for, also after a good request.
        good = f"GET /api/health HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()
        for begin in (b"", good):
            with socket.create_connection(place, timeout=30) as slow:
                slow.sendall(begin + b"GET / HTTP/1.1\r\n")
                start = time.monotonic()
                while slow.recv(4096):
                    pass
                assert 0.2 < time.monotonic() - start < 20
        with socket.create_connection(place, timeout=30) as busy:
            busy.sendall(good[:-4])  # amid a request
            run.send_signal(signal.SIGTERM)
            assert run.wait(30) == -signal.SIGTERM
    assert not list(tmp_path.iterdir())
