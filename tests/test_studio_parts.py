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

import pytest
from starlette.applications import Starlette

from styleprompter_jax.cli import main
from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.web.jobs import OVER, Job, Jobs
from styleprompter_jax.web.limits import Limits, Refused
from styleprompter_jax.web.server import _listening, make_server, serve
from styleprompter_jax.web.sessions import Clients


def test_all_addresses_are_of_both_kinds():
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no IPv6")
    with _listening("::", 0) as listener:
        for host in ("127.0.0.1", "::1"):
            socket.create_connection((host, listener.getsockname()[1]), 10).close()


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


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [0, 1])
def test_an_interruption_while_programs_compile(seconds, tmp_path):
    command = [sys.executable, "-m", "styleprompter_jax", "studio", "--port", "0"]
    cold = os.environ | {"XDG_CACHE_HOME": str(tmp_path)}
    how = dict(stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=cold)
    # A process in the background of a shell ignores the signal, and so do its children.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        started = subprocess.Popen([*command, "--model", "avatars64"], **how)
    finally:
        signal.signal(signal.SIGINT, before)
    with started as run:
        assert run.stdout.readline().startswith("Studio: http://127.0.0.1:")
        time.sleep(seconds)
        begin = time.monotonic()
        run.send_signal(signal.SIGINT)
        assert run.communicate(timeout=60) == ("", "Interrupted.\n")
    assert run.returncode == 130 and time.monotonic() - begin < 30


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
