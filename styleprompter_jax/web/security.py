"""Checks the host, origin, token and size of requests; sets headers of every answer.

A page of another site can make a browser send requests to this server, and its name can
resolve to this machine (DNS rebinding).  So the server checks the Host and Origin
headers.  It uses no cookie: a request carries the key of its client in a header, and
the page of another site does not know that key.
"""

import asyncio
import contextlib
import hmac
import ipaddress
import re
import socket
from collections.abc import AsyncIterator, Callable, Iterable, MutableMapping
from typing import Any
from urllib.parse import urlsplit

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse

from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.core.refusal import quoted
from styleprompter_jax.core.values import parsed_whole
from styleprompter_jax.web.limits import Limits, Refused

LOOPBACK = {"127.0.0.1", "localhost", "::1"}
# Only this server gives scripts, styles and images. The page makes blob: addresses.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
    "media-src blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
    "Cache-Control": "no-store",
}
_HOST = re.compile(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*")
Message = MutableMapping[str, Any]


def is_loopback(host: str) -> bool:
    """Returns whether only this machine can reach a host."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


class Names:
    """The names of a server.

    Args:
        host: the address or name that it listens on; "0.0.0.0" and "::" stand for
            all addresses of the machine.
        more: other names, such as the name of a proxy. Capitals, a port, a final dot
            and letters beyond ASCII are as in a browser's address.

    Raises:
        StylePrompterError: if one of the other names is not a bare host name.
    """

    def __init__(self, host: str, more: Iterable[str] = ()):
        self._names: set[str | None] = {*LOOPBACK, _host(host)}
        # DNS rebinding needs a name: an address in the Host header is safe.
        self._any_address = host in ("0.0.0.0", "::")
        if self._any_address:
            self._names.add(_host(socket.gethostname()))
        for name in more:
            if (found := _host(name)) is None:
                raise StylePrompterError(
                    f"--name {quoted(name)} is not a bare host name: write it without "
                    "http:// and a path, such as faces.example or, for letters beyond "
                    "ASCII, xn--mnchen-3ya.example."
                )
            self._names.add(found)

    def __contains__(self, header: str) -> bool:
        """Returns whether the value of a Host header is one of the names.

        The port may differ: a tunnel has another port at its other end.
        """
        name = _host(header)
        if name is None:
            return False
        return name in self._names or (self._any_address and _is_address(name))


def _host(text: str) -> str | None:
    """Returns a host as browsers send it, without its port; None for other texts."""
    if _is_address(text):  # also IPv6 without brackets
        return str(ipaddress.ip_address(text))
    if set(text) & set("/\\?#@"):
        return None
    try:
        parts = urlsplit(f"//{text}")
        name, _ = (parts.hostname or "").removesuffix("."), parts.port
        if _is_address(name):
            return str(ipaddress.ip_address(name))
        plain = name.encode("idna")
        # Browsers write a few letters, such as the German sharp s, in another way.
        clear = name.isascii() or plain.decode("idna") == name
    except ValueError:
        return None
    found = plain.decode().lower()
    return found if clear and _HOST.fullmatch(found) else None


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


class Guard:
    """Refuses requests of other sites, and adds `HEADERS` to every answer.

    Attributes:
        app: the application behind it.

    Args:
        app: the ASGI application that answers all other requests.
        names: the names of this server.
    """

    def __init__(self, app: Callable, names: Names):
        self.app, self._names = app, names

    async def __call__(self, scope: Message, receive: Callable, send: Callable) -> None:
        """Answers one request of ASGI."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                own = {key.lower() for key, _ in message["headers"]}
                message["headers"] = [
                    *message["headers"],
                    *(
                        (name, value.encode())
                        for key, value in HEADERS.items()
                        if (name := key.lower().encode()) not in own
                    ),
                ]
            await send(message)

        if (why := self._foreign(scope)) is None:
            await self.app(scope, receive, send_with_headers)
        else:
            answer = JSONResponse({"error": why}, 403)
            await answer(scope, receive, send_with_headers)

    def _foreign(self, scope: Message) -> str | None:
        """Returns the reason to refuse a request; None for this server's own pages."""
        headers: dict[bytes, list[str]] = {}
        for key, value in scope["headers"]:
            headers.setdefault(key.lower(), []).append(value.decode("latin-1"))
        hosts, origins = headers.get(b"host", []), headers.get(b"origin", [])
        if len(hosts) != 1 or hosts[0] not in self._names:
            return (
                "This server has another name: use its address, or start it with "
                "--name."
            )
        for origin in origins:
            if _place(origin) != hosts[0].lower():
                return "Pages of other sites may not use this server."
        site = headers.get(b"sec-fetch-site", ["none"])[-1]
        # Any site may link to the page; other requests come from the page itself.
        if scope["path"] != "/" and site not in ("same-origin", "none"):
            return "Pages of other sites may not use this server."
        return None


def _place(origin: str) -> str | None:
    """Returns host and port of an Origin header; None if it has none, as in "null"."""
    scheme, _, rest = origin.lower().partition("://")
    return rest if scheme in ("http", "https") and rest else None


def bearer(request: Request) -> str:
    """Returns the key in the Authorization header of a request; "" without a key."""
    kind, _, key = request.headers.get("authorization", "").partition(" ")
    return key.strip() if kind.lower() == "bearer" else ""


def check_token(request: Request, token: str) -> None:
    """Refuses a request without the token, if the server has one."""
    if token and not hmac.compare_digest(bearer(request).encode(), token.encode()):
        raise Refused(
            401, "This server needs the token that it printed when it started."
        )


class Bodies:
    """Receives the bodies of requests, within the limits.

    Args:
        limits: the limits of the server.
    """

    def __init__(self, limits: Limits):
        self._limits, self._held = limits, 0

    @contextlib.asynccontextmanager
    async def received(self, request: Request, most: int) -> AsyncIterator[bytes]:
        """Receives the body of a request; it counts until the end of the block.

        Args:
            request: the request.
            most: the largest number of bytes.

        Raises:
            Refused: if the body is larger or arrives too slowly, or if other bodies
                use all the memory for bodies.
        """
        declared = request.headers.get("content-length", "0")
        size = parsed_whole(declared) if declared.isdigit() else None
        if size is None or size > most:
            raise Refused(413, f"A request of this kind has at most {most:,} bytes.")
        body, held = bytearray(), 0
        try:
            try:
                async with asyncio.timeout(self._limits.body_seconds):
                    async for chunk in request.stream():
                        self._check(held + len(chunk), most, len(chunk))
                        held += len(chunk)
                        self._held += len(chunk)
                        body += chunk
            except TimeoutError as error:
                raise Refused(408, "The request took too long to arrive.") from error
            except ClientDisconnect as error:
                raise Refused(400, "The request broke off.") from error
            whole = bytes(body)
            del body  # it would take the same memory again
            yield whole
        finally:
            self._held -= held

    def _check(self, size: int, most: int, more: int) -> None:
        if size > most:
            raise Refused(413, f"A request of this kind has at most {most:,} bytes.")
        if self._held + more > self._limits.bodies:
            raise Refused(503, "The server receives too much: try again in a moment.")
