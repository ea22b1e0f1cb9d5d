"""The base of the tests' servers on the loopback."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Handler(BaseHTTPRequestHandler):
    """Answers in HTTP/1.1, and logs nothing."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass


class Loopback:
    """A server on 127.0.0.1; a context manager.

    Attributes:
        url: its address.
    """

    def __init__(self, handler: type[Handler]):
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self):
        threading.Thread(target=self._server.serve_forever, args=(0.01,)).start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()
