"""A Ray cluster for `app.engine_ray`: the connection to it, and its devices."""

import contextlib
import logging
import os
import socket
from collections.abc import Iterator
from typing import Any

from styleprompter_jax.core.errors import StylePrompterError

SECONDS = 10  # to reach the address of a cluster
OBJECTS = 200 * 2**20  # bytes of a local Ray's object store, which only holds names


@contextlib.contextmanager
def connected(address: str | None) -> Iterator[Any]:
    """Yields Ray, which is connected to a cluster or started on this machine."""
    if not address:
        # If clusters are off, Ray uses only the loopback, as on Windows and macOS.
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    try:
        import ray
        import ray.data
        import ray.exceptions
    except ImportError as error:
        raise StylePrompterError(
            "--engine ray needs Ray: install it with "
            "pip install 'styleprompter_jax[ray]'."
        ) from error
    if address:
        _check_reachable(address)
    here = dict(object_store_memory=OBJECTS, include_dashboard=False)
    how: dict[str, Any] = {"address": address or "local"} | ({} if address else here)
    ours = not ray.is_initialized()
    try:
        if ours:
            ray.init(log_to_driver=False, logging_level=logging.WARNING, **how)
        yield ray
    except (ConnectionError, ValueError, RuntimeError) as error:
        if isinstance(error, StylePrompterError) or ray.is_initialized():
            raise
        if not address:
            raise StylePrompterError(
                f"Ray does not start on this machine ({_first_line(error)}): start it "
                "with `ray start --head`, and give its --address."
            ) from error
        raise _no_cluster(address, error) from error
    except ray.exceptions.RayError as error:
        raise StylePrompterError(
            f"Ray stopped the work ({_first_line(error)}): the same call continues it."
        ) from error
    finally:
        if ours:
            ray.shutdown()


def _check_reachable(address: str) -> None:
    """Refuses HOST:PORT without a server; Ray itself would try for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not (host and port.isdecimal()):
        return  # such as "auto"
    try:
        socket.create_connection((host.strip("[]"), int(port)), SECONDS).close()
    except (OSError, OverflowError, ValueError) as error:
        raise _no_cluster(address, error) from error


def _no_cluster(address: str, error: Exception) -> StylePrompterError:
    return StylePrompterError(
        f"There is no Ray cluster at {address} ({_first_line(error)}): start one with "
        "`ray start --head`, or leave out --address."
    )


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), repr(error)).rstrip(".")


def slots_of(ray: Any) -> tuple[int, dict[str, Any]]:
    """Returns the number of actors, and the resources of each.

    An actor has one GPU, or all TPU chips of a machine, or one CPU without both.
    """
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    chips = [node["TPU"] for node in nodes if node.get("TPU")]
    if gpus := int(sum(node.get("GPU", 0) for node in nodes)):
        return gpus, {"num_gpus": 1}
    if chips:
        return len(chips), {"resources": {"TPU": min(chips)}}
    return int(sum(node.get("CPU", 0) for node in nodes)) or 1, {"num_cpus": 1}
