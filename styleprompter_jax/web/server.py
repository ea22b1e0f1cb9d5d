"""The server of `styleprompter studio`."""

import asyncio
import contextlib
import logging
import secrets
import socket
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from importlib import resources
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match, Route
from uvicorn.protocols.http.h11_impl import H11Protocol

from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.inversion.pipeline import StylePrompter
from styleprompter_jax.web.api import Api, refusal
from styleprompter_jax.web.limits import Limits, Refused
from styleprompter_jax.web.security import Guard, Names, is_loopback
from styleprompter_jax.web.studio import Studio

log = logging.getLogger(__name__)
_KINDS = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}


def make_app(
    model: StylePrompter,
    *,
    token: str = "",
    names: Names | None = None,
    limits: Limits = Limits(),
) -> Guard:
    """Returns the studio as an ASGI application.

    Args:
        model: the model.
        token: the token that users need; "" if only this machine can reach the
            server.
        names: the names of the server; by default those of the loopback.
        limits: the limits of the server.
    """
    studio = Studio(model, limits)
    app = Starlette(
        routes=[
            *Api(studio, token).routes(),
            *(
                Route("/" if name == "index.html" else f"/{name}", _page(data, kind))
                for name, data, kind in _files()
            ),
        ],
        lifespan=_lifespan(studio),
        exception_handlers={404: _nothing, 405: _another_method},
    )
    app.state.studio = studio
    return Guard(app, names or Names("127.0.0.1"))


def _lifespan(
    studio: Studio,
) -> Callable[[Any], contextlib.AbstractAsyncContextManager]:
    @contextlib.asynccontextmanager
    async def lifespan(app: Any) -> AsyncIterator[None]:
        studio.begin()
        forgetting = asyncio.create_task(_forget(studio))
        yield
        forgetting.cancel()
        studio.close()

    return lifespan


async def _forget(studio: Studio) -> None:
    """Forgets inactive clients regularly, even if no requests arrive."""
    while True:
        await asyncio.sleep(studio.limits.idle_seconds / 60)
        studio.clients.expire()


def _files() -> Iterable[tuple[str, bytes, str]]:
    """Yields the name, the content and the media type of each file of the page."""
    for file in resources.files(__package__).joinpath("page").iterdir():
        kind = _KINDS.get(file.name.rpartition(".")[2])
        if kind is not None:
            yield file.name, file.read_bytes(), kind


def _page(data: bytes, kind: str) -> Callable:
    async def answer(request: Request) -> Response:
        return Response(data, media_type=kind, headers={"Cache-Control": "no-cache"})

    return answer


async def _nothing(request: Request, error: Exception) -> Response:
    return refusal(Refused(404, "This page does not exist."))


async def _another_method(request: Request, error: Exception) -> Response:
    """Refuses a method, and names those of all routes of the address."""
    fitting = (
        route.methods or set()
        for route in request.app.routes
        if route.matches(request.scope)[0] is not Match.NONE
    )
    methods = ", ".join(sorted(set().union(*fitting)))
    answer = refusal(
        Refused(405, f"This address does not take {request.method}: use {methods}.")
    )
    answer.headers["Allow"] = methods
    return answer


def serve(
    model: StylePrompter,
    *,
    host: str = "127.0.0.1",
    port: int = 7860,
    names: Iterable[str] = (),
    limits: Limits = Limits(),
) -> None:
    """Serves the studio until a signal ends the process.

    Logs the address, with a token if other machines can reach it.

    Args:
        model: the model.
        host: the address to listen on.
        port: the port to listen on; 0 for any free port.
        names: other names of the server, such as the name of a proxy; with one, users
            need the token.
        limits: the limits of the server.

    Raises:
        StylePrompterError: if a name is not a bare host name, or the server cannot
            listen on this address and port.
    """
    names = list(names)
    token, known = _token(host, names), Names(host, names)
    with _listening(host, port) as listener:
        app = make_app(model, token=token, names=known, limits=limits)
        place = f"http://{_shown(host)}:{listener.getsockname()[1]}/"
        server = make_server(app, limits)
        address = f"{place}#token={token}" if token else place
        server.ready = lambda: log.info("Studio: %s", address)
        server.run(sockets=[listener])


class Server(uvicorn.Server):
    """A server that tells when it answers.

    Attributes:
        ready: called when the server answers requests, and ends in order at a signal.
    """

    ready: Callable[[], None] = staticmethod(lambda: None)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Starts to answer."""
        await super().startup(sockets)
        self.ready()


def make_server(app: Guard, limits: Limits = Limits()) -> Server:
    """Returns a server for the application of `make_app`.

    Args:
        app: the application.
        limits: the limits of the server.
    """
    config = uvicorn.Config(
        app,
        http=_protocol(limits.body_seconds),
        ws="none",
        loop="asyncio",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=512,
        timeout_keep_alive=15,
        timeout_graceful_shutdown=3,
        h11_max_incomplete_event_size=16_384,
    )
    return Server(config)


def _token(host: str, names: Sequence[str]) -> str:
    """Returns a new token; "" if only this machine can reach the server.

    Another name stands for a proxy, which lets other machines in.
    """
    return "" if is_loopback(host) and not names else secrets.token_urlsafe(24)


def _protocol(seconds: float) -> type[H11Protocol]:
    """Returns a protocol that sends answers at once and limits the time for headers.

    uvicorn alone waits for headers without a time limit.
    """

    class Hurried(H11Protocol):
        late: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            # asyncio does so only for sockets that name TCP as their protocol. Without
            # it, the system holds small answers back for 40 ms.
            connection = transport.get_extra_info("socket")
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._wait()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            if self.cycle is None or self.cycle.response_complete:
                self._wait()
            else:
                self._arrived()

        def connection_lost(self, exc: Exception | None) -> None:
            self._arrived()
            super().connection_lost(exc)

        def _wait(self) -> None:
            if self.late is None:
                self.late = self.loop.call_later(seconds, self.transport.close)

        def _arrived(self) -> None:
            if self.late is not None:
                self.late.cancel()
                self.late = None

    return Hurried


@contextlib.contextmanager
def _listening(host: str, port: int) -> Any:
    """Returns a listening socket."""
    try:
        family, _, _, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        both = host == "::" and socket.has_dualstack_ipv6()  # all addresses
        listener = socket.create_server(address[:2], family=family, dualstack_ipv6=both)
    except (OSError, OverflowError) as error:
        why = getattr(error, "strerror", None) or error
        raise StylePrompterError(
            f"The studio cannot listen on {host}:{port} ({why}): choose another --port "
            "or --host."
        ) from error
    with listener:
        yield listener


def _shown(host: str) -> str:
    """Returns a host as it appears in a browser's address."""
    host = {"0.0.0.0": socket.gethostname(), "::": socket.gethostname()}.get(host, host)
    return f"[{host}]" if ":" in host else host
