"""The bounds of the studio: sizes, times and counts."""

import dataclasses

from styleprompter_jax.core.errors import StylePrompterError


class Refused(StylePrompterError):
    """An error that becomes an HTTP response with `status`.

    Attributes:
        status: the status code of HTTP.
        unknown: the id in the request that the client does not have; None for other
            reasons.
    """

    def __init__(self, status: int, message: str, *, unknown: str | None = None):
        super().__init__(message)
        self.status, self.unknown = status, unknown


@dataclasses.dataclass(frozen=True)
class Limits:
    """The bounds of a server.

    Attributes:
        upload_bytes: size of an uploaded image.
        pixels: width times height of an uploaded image.
        json_bytes: size of the body of any other request.
        bodies: bytes of all bodies that the server receives or answers at the same
            time.
        body_seconds: time to receive a body.
        answer_seconds: time to answer a request.
        waiting: computations that wait for the model.
        waiting_each: requests of one client at the same time, with streams of events.
        batch: rows of the largest batch.
        clients: clients at the same time.
        client_bytes: bytes kept for one client; the server drops its oldest things.
        kept_bytes: bytes kept for all clients.
        idle_seconds: time without a request after which a client is forgotten.
        jobs: jobs that run or wait.
        jobs_each: jobs of one client that run or wait.
        jobs_kept: jobs of one client that are over; the server drops the oldest.
    """

    upload_bytes: int = 40 * 2**20
    pixels: int = 50_000_000
    json_bytes: int = 2**16
    bodies: int = 2**28
    body_seconds: float = 60.0
    answer_seconds: float = 120.0
    waiting: int = 64
    waiting_each: int = 8
    batch: int = 8
    clients: int = 256
    client_bytes: int = 2**29
    kept_bytes: int = 2**32
    idle_seconds: float = 3600.0
    jobs: int = 16
    jobs_each: int = 2
    jobs_kept: int = 32
