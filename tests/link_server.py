"""A server on the loopback that gives files, and imitates faults of real servers."""

import contextlib
import dataclasses
import re
import time

import pytest
from loopback import Handler, Loopback

from styleprompter_jax.convert.links.download import fetch
from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.core.paths import cache_folder

DATA = bytes(range(256)) * 1000


@dataclasses.dataclass
class File:
    """A file and how it is given.

    Attributes:
        data: its content.
        etag, modified: its validators; "" leaves them out.
        status: in place of 200.
        headers: more headers, or others; None leaves one out.
        cut: bytes after which the connection ends.
        wait: seconds before each 8 bytes.
        endless: never stops.
        headless: sends headers that never end, one each 0.05 seconds.
        ranges: whether parts can be asked for.
        part: more headers of a part.
        careless: gives the part that is asked for even if the file has changed.
    """

    data: bytes = b""
    etag: str = '"1"'
    modified: str = ""
    status: int = 200
    headers: dict = dataclasses.field(default_factory=dict)
    part: dict = dataclasses.field(default_factory=dict)
    cut: int | None = None
    wait: float = 0
    endless: bool = False
    headless: bool = False
    ranges: bool = True
    careless: bool = False


class Links(Loopback):
    """The server; a context manager.

    Attributes:
        url: its address.
        files: by path.
        calls: (path with query, status, bytes sent) of each request.
    """

    def __init__(self):
        self.files, self.calls = {}, []
        super().__init__(self._handler())

    def _handler(links):
        class Given(Handler):
            def do_GET(self):
                self.close_connection = True
                file = links.files.get(self.path)
                file = file or links.files.get(self.path.partition("?")[0])
                file = file or File(b"none", status=404)
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                    self._give(file)

            def _give(self, file):
                status, data, headers = file.status, file.data, {}
                if (
                    status == 200
                    and file.etag
                    and file.etag == self.headers.get("If-None-Match")
                ):
                    status, data = 304, b""
                asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
                known = self.headers.get("If-Range") in (file.etag, file.modified)
                if asked and file.ranges and (known or file.careless):
                    start, size = int(asked[1]), len(data)
                    status, data = (206, data[start:]) if start < size else (416, b"")
                    headers["Content-Range"] = f"bytes {start}-{size - 1}/{size}"
                headers |= {"Content-Length": str(len(data)), "ETag": file.etag}
                headers |= {"Last-Modified": file.modified} | file.headers
                if status == 206:
                    headers |= file.part
                headers["Connection"] = "close"
                if file.endless:
                    headers["Content-Length"] = None
                if file.wait > 1:  # silent from the first
                    time.sleep(file.wait)
                links.calls.append(entry := [self.path, status, 0])
                self.send_response(status)
                for name, value in headers.items():
                    if value:
                        self.send_header(name, value)
                while file.headless:
                    self.send_header("X-More", "x")
                    self.flush_headers()
                    time.sleep(0.05)
                self.end_headers()
                sent = 0
                pieces = [data[: file.cut]]
                if file.wait:
                    pieces = [data[k : k + 8] for k in range(0, len(data), 8)]
                while pieces or file.endless:
                    piece = pieces.pop(0) if pieces else bytes(2**16)
                    time.sleep(file.wait)
                    self.wfile.write(piece)
                    sent += len(piece)
                    entry[2] = sent

        return Given


def left() -> list[str]:
    """Returns the names of the files in the cache."""
    root = cache_folder("downloads")
    assert all(any(place.iterdir()) for place in root.glob("*/"))
    return sorted(path.name for path in root.rglob("*") if path.is_file())


def refused(link, text, sha256=None):
    """Checks that a link is refused in one sentence, and returns the sentence."""
    with pytest.raises(StylePrompterError, match=text) as caught:
        fetch(link, sha256)
    message = str(caught.value)
    assert message.isprintable() and message.endswith(".") and len(message) < 500
    return message
