"""Makes several JAX devices of one CPU, because training on small images needs them.

XLA shares the work of one operation among all cores. For maps of 64 or 128 px, its
operations are too short for that, and a core waits for most of the time. Devices share
the batch instead: each computes whole operations on its own part. docs/performance.md
has the measurements.
"""

import os
import sys
from typing import Any

import jax

_LARGEST = 128  # pixels; larger images keep all cores busy with one operation
_LEAST = 4  # images of a batch for each device
# XLA ends the process if a device waits for another one, by default for a minute. A
# busy machine can take longer. JAX before 0.10 does not know the option.
_WAIT = "--xla_cpu_collective_call_terminate_timeout_seconds"
_SECONDS = 24 * 60 * 60
_OLDEST = (0, 10)


def use_cpu_devices(image_size: int, batch_size: int) -> int:
    """Splits the CPU into devices, if this is faster for such a batch.

    The function does nothing if JAX has started, or is older than 0.10, if this process
    works with others, or if the user has set the number of devices. It does not change
    other kinds of devices.

    Args:
        image_size: side of the images, in pixels.
        batch_size: images in each step.

    Returns:
        The number of devices that it made; 1 if it did nothing.
    """
    count = _best(image_size, batch_size, _cores())
    if count == 1 or not _may_change():
        return 1
    flags = os.environ.get("XLA_FLAGS", "")
    if _WAIT not in flags:
        os.environ["XLA_FLAGS"] = f"{flags} {_WAIT}={_SECONDS}".lstrip()
    jax.config.update("jax_num_cpu_devices", count)
    return count


def _best(image_size: int, batch_size: int, cores: int) -> int:
    """Returns the number of devices for a batch."""
    if image_size > _LARGEST:
        return 1
    most = min(cores, max(1, batch_size // _LEAST))
    return max(n for n in range(1, most + 1) if batch_size % n == 0)


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):  # Linux
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _may_change() -> bool:
    """Returns whether JAX can still change its devices, and the user has not."""
    from jaxlib.version import __version_info__

    bridge: Any = sys.modules.get("jax._src.xla_bridge")
    started = bridge is not None and bridge.backends_are_initialized()
    flags = os.environ.get("XLA_FLAGS", "").strip()
    is_file = bool(flags) and not flags.startswith("-")
    chosen = "xla_force_host_platform_device_count" in flags
    return (
        __version_info__ >= _OLDEST
        and not (started or is_file or chosen)
        and jax.config.jax_num_cpu_devices < 0  # type: ignore[attr-defined]
        and not jax.distributed.is_initialized()
    )
