"""Clients, and the things that the server keeps for them in memory for a limited time.

A client has a random key, and each of its things has a random id.  The server looks up
an id among the things of the same client.  So it answers the id of another client, a
guessed id and an expired id alike: unknown.
"""

import collections
import contextlib
import itertools
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from styleprompter_jax.web.limits import Limits, Refused

T = TypeVar("T")


class Client:
    """A user of the studio.

    Attributes:
        key: its secret.
        used: bytes of its things.
        seen: time of its last request or of the last check of its stream of events, by
            the clock of `Clients`.
    """

    def __init__(self, seen: float):
        self.key = secrets.token_urlsafe(24)
        self.used = 0
        self.seen = seen
        self._things: collections.OrderedDict[str, tuple[Any, int]] = (
            collections.OrderedDict()
        )
        self._asking = 0
        self._lock = threading.Lock()  # jobs keep things from another thread
        self._names = itertools.count(1)

    def __len__(self) -> int:
        return len(self._things)

    @contextlib.contextmanager
    def asking(self, most: int) -> Iterator[None]:
        """Counts a request until the server has answered it; refuses one too many."""
        if self._asking >= most:
            raise Refused(429, f"A client may have {most} requests at the same time.")
        self._asking += 1
        try:
            yield
        finally:
            self._asking -= 1

    def find(self, name: str, kind: type[T]) -> T:
        """Returns a thing of this client.

        Args:
            name: the id of the thing.
            kind: the class of the thing.

        Raises:
            Refused: if the client has no such thing.
        """
        with self._lock:
            thing, _ = self._things.get(name, (None, 0))
            if not isinstance(thing, kind):
                why = "This id is unknown: it may have expired; make it again."
                raise Refused(404, why, unknown=name)
            self._things.move_to_end(name)
            return thing

    def all_of(self, kind: type[T]) -> dict[str, T]:
        """Returns the client's things of one class by their ids, least used first."""
        with self._lock:
            every = [(name, thing) for name, (thing, _) in self._things.items()]
        return {name: thing for name, thing in every if isinstance(thing, kind)}

    def number(self) -> int:
        """Returns the next number of a photograph, from 1."""
        return next(self._names)

    def keep(self, thing: Any, size: int) -> str:
        """Keeps a thing, of the given size in bytes, and returns its id."""
        name = secrets.token_urlsafe(16)
        with self._lock:
            self._things[name] = thing, size
            self.used += size
        return name

    def drop(self, *names: str) -> None:
        """Forgets the things with these ids, if it has them."""
        with self._lock:
            for name in names:
                _, size = self._things.pop(name, (None, 0))
                self.used -= size

    def drop_oldest(self) -> None:
        """Forgets the thing with a size that was unused for the longest time.

        Things without a size, such as jobs, stay: to forget them makes no room.
        """
        with self._lock:
            sized = (name for name, (_, size) in self._things.items() if size)
            oldest = next(sized, "")
        self.drop(oldest)


class Clients:
    """All clients of a server.

    Args:
        limits: the limits of the server.
        forget: called with each client that the server forgets.
        clock: returns seconds.
    """

    def __init__(
        self,
        limits: Limits,
        forget: Callable[[Client], None] = lambda client: None,
        clock: Callable[[], float] = time.monotonic,
    ):
        self._limits, self._forget, self._clock = limits, forget, clock
        self._known: collections.OrderedDict[str, Client] = collections.OrderedDict()
        self._lock = threading.RLock()

    def __len__(self) -> int:
        return len(self._known)

    @property
    def used(self) -> int:
        """Bytes kept for all clients."""
        with self._lock:
            return sum(client.used for client in self._known.values())

    def open(self) -> Client:
        """Returns a new client.

        Raises:
            Refused: if too many clients keep something.
        """
        with self._lock:
            self.expire()
            if len(self._known) >= self._limits.clients:
                self._drop_an_empty_one()
            client = Client(self._clock())
            self._known[client.key] = client
            return client

    def find(self, key: str) -> Client:
        """Returns the client of a key, and notes the time.

        Raises:
            Refused: if the key is unknown.
        """
        with self._lock:
            self.expire()
            client = self._known.get(key)
            if client is None:
                raise Refused(401, "This client is unknown: it may have expired.")
            self.touch(client)
            return client

    def touch(self, client: Client) -> None:
        """Notes that a client is there, if the server did not forget it."""
        with self._lock:
            if client.key in self._known:
                client.seen = self._clock()
                self._known.move_to_end(client.key)

    def keep(self, client: Client, thing: Any, size: int) -> str:
        """Keeps a thing of a client and returns its id.

        The oldest things of the client make room for it.

        Raises:
            Refused: if the thing is too large, or other clients fill the room.
        """
        most = self._limits.client_bytes
        if size > most:
            raise Refused(413, f"This takes {size:,} bytes, more than {most:,}.")
        with self._lock:
            while client.used + size > most:
                client.drop_oldest()
            if self.used + size > self._limits.kept_bytes:
                raise Refused(503, "The server is full: try again later.")
            return client.keep(thing, size)

    def close(self, client: Client) -> None:
        """Forgets a client."""
        with self._lock:
            if self._known.pop(client.key, None) is not None:
                self._forget(client)

    def expire(self) -> None:
        """Forgets the clients without a recent request."""
        with self._lock:
            earliest = self._clock() - self._limits.idle_seconds
            while self._known:
                client = next(iter(self._known.values()))
                if client.seen > earliest:
                    return
                self.close(client)

    def _drop_an_empty_one(self) -> None:
        empty = [client for client in self._known.values() if not len(client)]
        if not empty:
            raise Refused(503, "The server has too many users: try again later.")
        self.close(empty[0])
