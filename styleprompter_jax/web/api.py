"""The HTTP interface: one row for each request. The rows also give the OpenAPI page."""

import asyncio
import collections
import contextlib
import dataclasses
import json
import logging
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.version import __version__
from styleprompter_jax.web import answers, bodies, openapi
from styleprompter_jax.web.jobs import OVER, Job
from styleprompter_jax.web.limits import Refused
from styleprompter_jax.web.security import Bodies, bearer, check_token
from styleprompter_jax.web.sessions import Client
from styleprompter_jax.web.studio import Studio
from styleprompter_jax.web.things import MEDIA, File

log = logging.getLogger(__name__)
Counts = collections.Counter[tuple[str, int]]
PULSE = 0.1  # seconds between two checks of a job


@dataclasses.dataclass(frozen=True)
class Call:
    """A request after all checks.

    Attributes:
        studio: the studio that answers it.
        client: the client of the request; None for requests that need none.
        body: a dataclass of `bodies.py`, or the bytes of an upload.
        named: the named parts of its path.
        counts: the number of requests with each answer, by row and status.
    """

    studio: Studio
    client: Client
    body: Any
    named: dict[str, Any]
    counts: Counts


@dataclasses.dataclass(frozen=True)
class Endpoint:
    """A row of the interface.

    Attributes:
        method: the method of HTTP.
        path: the path, with the names of its parts in braces.
        answer: returns a response, or a value for JSON that fits its annotation.
        body: a dataclass of `bodies.py`; bytes for an upload; None without a body.
        gives: the media types of answers; () for JSON.
        key: the key that a request needs: "client", "token" or "nothing".
    """

    method: str
    path: str
    answer: Callable[[Call], Awaitable[Any]]
    body: type | None = None
    gives: tuple[str, ...] = ()
    key: str = "client"


async def open_client(call: Call) -> answers.Opened:
    """Opens a client; all other requests need its key.

    The server forgets a client and its things `idle_seconds` after its last request.
    """
    client = call.studio.clients.open()
    return {"client": client.key, "idle_seconds": call.studio.limits.idle_seconds}


async def close_client(call: Call) -> answers.Nothing:
    """Forgets the client and its things."""
    call.studio.clients.close(call.client)
    return {}


async def model(call: Call) -> answers.ModelFacts:
    """Facts about the model: its size, directions and abilities."""
    return await call.studio.facts()


async def example(call: Call) -> Response:
    """A drawn face to try the model with."""
    return _file(await call.studio.example(_number(call.named["number"])), "png")


async def upload(call: Call) -> answers.Uploaded:
    """Uploads an image: PNG, JPEG, WebP, BMP, TIFF or GIF.

    The answer has its size, the points of its largest face, and whether the face is
    aligned already.
    """
    return await call.studio.upload(call.client, call.body)


async def show(call: Call) -> Response:
    """An image to look at: upright, a photograph at most 1600 pixels long."""
    return _file(*await call.studio.shown(call.client, call.named["picture"]))


async def align(call: Call) -> answers.KeptPicture:
    """Crops a face from an image; the crop is another image."""
    return await call.studio.align(call.client, call.body)


async def encode(call: Call) -> answers.Encoded:
    """Encodes an image; the answer names the encoded part, too."""
    return await call.studio.encode(call.client, call.body)


async def sample(call: Call) -> answers.KeptLatents:
    """Samples latents."""
    return await call.studio.sample(call.client, call.body)


async def edit(call: Call) -> answers.KeptLatents:
    """Keeps the codes of a recipe as new latents.

    It keeps the codes alone, and not `refine` and `options`: a later request chooses
    whether and how to refine them.
    """
    return await call.studio.edit(call.client, call.body)


async def mix(call: Call) -> answers.KeptLatents:
    """Keeps the codes of a recipe with a `mix` as new latents, as POST /api/edit."""
    if call.body.mix is None:
        raise Refused(400, "The recipe has no mix: name other latents.")
    return await call.studio.edit(call.client, call.body)


async def decode(call: Call) -> Response:
    """Decodes a recipe."""
    return _file(await call.studio.decode(call.client, call.body), call.body.format)


async def unalign(call: Call) -> Response:
    """Decodes a recipe and pastes the result back into its photograph."""
    return _file(await call.studio.unalign(call.client, call.body), call.body.format)


async def save(call: Call) -> Response:
    """Latents as an .npz, for `styleprompter edit --latents` and Python."""
    data = await call.studio.save(call.client, call.named["latents"])
    return Response(data, media_type="application/octet-stream")


async def script(call: Call) -> answers.Code:
    """Code that makes the result of a recipe: Python, and commands."""
    return await call.studio.script(call.client, call.body)


async def fit(call: Call) -> answers.Started:
    """Starts a job that fits codes to their image; it gives latents."""
    return await call.studio.fit(call.client, call.body)


async def tune(call: Call) -> answers.Started:
    """Starts a job that tunes the generator to an image; it gives latents."""
    return await call.studio.tune(call.client, call.body)


async def sweep(call: Call) -> answers.Started:
    """Starts a job that makes an animation; it gives a file."""
    return await call.studio.sweep(call.client, call.body)


async def job(call: Call) -> answers.Report:
    """The state of a job: its steps and its result."""
    return _job(call).report


async def cancel(call: Call) -> answers.Report:
    """Cancels a job, which ends after its current step."""
    _job(call).cancel()
    return _job(call).report


async def events(call: Call) -> Response:
    """The state of a job after each change, as server-sent events.

    The data of each event are JSON, as GET /api/jobs/{job} answers it.
    """
    watched = _job(call)

    async def stream() -> AsyncIterator[str]:
        said = None
        while said is None or said["state"] not in OVER:
            call.studio.clients.touch(call.client)  # who watches a job is there
            if (report := watched.report) != said:
                said = report
                yield f"data: {json.dumps(report)}\n\n"
            else:
                await asyncio.sleep(PULSE)

    return _Stream(stream(), media_type="text/event-stream")


async def file(call: Call) -> Response:
    """The file that a job made."""
    name = _job(call).file
    if not name:
        raise Refused(404, "This job has no file.")
    made = call.client.find(name, File)
    return Response(made.data, media_type=made.media)


async def metrics(call: Call) -> Response:
    """Counts of requests, batches, clients and bytes, for Prometheus."""
    studio = call.studio
    lines = [
        f"styleprompter_waiting {len(studio.batcher)}",
        f"styleprompter_jobs {len(studio.jobs)}",
        f"styleprompter_clients {len(studio.clients)}",
        f"styleprompter_kept_bytes {studio.clients.used}",
    ]
    for size, count in sorted(studio.batcher.batches.items()):
        lines.append(f'styleprompter_batches_total{{size="{size}"}} {count}')
    for (name, status), count in sorted(call.counts.items()):
        labels = f'request="{name}",status="{status}"'
        lines.append(f"styleprompter_requests_total{{{labels}}} {count}")
    return Response("\n".join(lines) + "\n", media_type="text/plain; version=0.0.4")


async def health(call: Call) -> answers.Health:
    """The state of the server."""
    return {"status": "ok", "version": __version__}


async def description(call: Call) -> dict[str, Any]:
    """The description of this interface, as OpenAPI 3.1."""
    return openapi.describe(ENDPOINTS)


_PICTURE = tuple(MEDIA[name] for name in ("png", "jpg", "webp"))
_RUN = "/api/jobs/{job}"
ENDPOINTS = [
    Endpoint("POST", "/api/clients", open_client, key="token"),
    Endpoint("DELETE", "/api/clients", close_client),
    Endpoint("GET", "/api/model", model),
    Endpoint("GET", "/api/examples/{number}", example, gives=_PICTURE[:1]),
    Endpoint("POST", "/api/pictures", upload, bytes),
    Endpoint("GET", "/api/pictures/{picture}", show, gives=_PICTURE[:2]),
    Endpoint("POST", "/api/align", align, bodies.Align),
    Endpoint("POST", "/api/encode", encode, bodies.Encode),
    Endpoint("POST", "/api/sample", sample, bodies.Sample),
    Endpoint("POST", "/api/edit", edit, bodies.Recipe),
    Endpoint("POST", "/api/mix", mix, bodies.Recipe),
    Endpoint("POST", "/api/decode", decode, bodies.Rendering, _PICTURE),
    Endpoint("POST", "/api/unalign", unalign, bodies.Unalign, _PICTURE),
    Endpoint("POST", "/api/script", script, bodies.Recipe),
    Endpoint(
        "GET", "/api/latents/{latents}", save, gives=("application/octet-stream",)
    ),
    Endpoint("POST", "/api/jobs/fit", fit, bodies.Fit),
    Endpoint("POST", "/api/jobs/tune", tune, bodies.Fit),
    Endpoint("POST", "/api/jobs/sweep", sweep, bodies.Sweep),
    Endpoint("GET", _RUN, job),
    Endpoint("DELETE", _RUN, cancel),
    Endpoint("GET", f"{_RUN}/events", events, gives=("text/event-stream",)),
    Endpoint("GET", f"{_RUN}/file", file, gives=(MEDIA["gif"], MEDIA["mp4"])),
    Endpoint("GET", "/api/health", health, key="nothing"),
    Endpoint("GET", "/api/metrics", metrics, gives=("text/plain",), key="token"),
    Endpoint("GET", "/api/openapi.json", description, key="nothing"),
]


class _Stream(StreamingResponse):
    """An answer that lasts.

    Attributes:
        held: what to release at its end.
    """

    held: contextlib.AsyncExitStack

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async with self.held:
            await super().__call__(scope, receive, send)


class Api:
    """The routes of a studio.

    Args:
        studio: the studio that answers.
        token: the token that users need; "" for none.
    """

    def __init__(self, studio: Studio, token: str):
        self._studio, self._token = studio, token
        self._bodies = Bodies(studio.limits)
        self._counts = Counts()

    def routes(self) -> list[Route]:
        """Returns the routes for Starlette."""
        return [
            Route(one.path, self._handler(one), methods=[one.method])
            for one in ENDPOINTS
        ]

    def _handler(self, endpoint: Endpoint) -> Callable:
        async def handle(request: Request) -> Response:
            try:
                response = await self._answer(endpoint, request)
            except StylePrompterError as error:
                response = refusal(error)
            except TimeoutError:
                response = refusal(
                    Refused(504, "The answer took too long: try again later.")
                )
            except Exception as error:
                # The log does not show the error's text, which may quote the upload.
                number = secrets.token_hex(4)
                log.warning("Error %s: %s", number, type(error).__name__)
                why = f"The server failed: error {number} in its log."
                response = refusal(Refused(500, why))
            self._counts[
                f"{endpoint.method} {endpoint.path}", response.status_code
            ] += 1
            return response

        return handle

    async def _answer(self, endpoint: Endpoint, request: Request) -> Response:
        limits, client = self._studio.limits, None
        async with contextlib.AsyncExitStack() as held:
            if endpoint.key == "token":
                check_token(request, self._token)
            elif endpoint.key == "client":
                client = self._studio.clients.find(bearer(request))
                held.enter_context(client.asking(limits.waiting_each))
            body: Any = None
            if endpoint.body is not None:
                raw = endpoint.body is bytes
                most = limits.upload_bytes if raw else limits.json_bytes
                receiving = self._bodies.received(request, most)
                body = await held.enter_async_context(receiving)
                body = body if raw else bodies.parse(endpoint.body, body)
            named = request.path_params
            call = Call(self._studio, client, body, named, self._counts)  # type: ignore[arg-type]  # None where the row needs none
            async with asyncio.timeout(limits.answer_seconds):
                made = await _unless_gone(request, endpoint.answer(call))
            if isinstance(made, _Stream):
                made.held = held.pop_all()
        return made if isinstance(made, Response) else JSONResponse(made)


def refusal(error: StylePrompterError) -> JSONResponse:
    """Returns the answer to a refused request."""
    status = getattr(error, "status", 400)
    headers = {"Retry-After": "1"} if status in (429, 503) else None
    unknown = getattr(error, "unknown", None)
    named = {} if unknown is None else {"unknown": unknown}
    return JSONResponse({"error": str(error)} | named, status, headers)


async def _unless_gone(request: Request, answer: Awaitable[Any]) -> Any:
    """Returns an answer; cancels its work when the client disconnects."""
    work = asyncio.ensure_future(answer)
    gone = asyncio.ensure_future(_disconnected(request))
    try:
        await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not work.done():
            raise Refused(499, "The client disconnected.")
        return work.result()
    finally:
        gone.cancel()
        work.cancel()


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _file(data: bytes, format: str) -> Response:
    return Response(data, media_type=MEDIA[format])


def _job(call: Call) -> Job:
    return call.client.find(call.named["job"], Job)


def _number(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 5):
        raise Refused(404, "This example does not exist.")
    return int(text)
