"""Makes several JAX devices of one CPU, because training on small images needs them.

XLA shares the work of one operation among all cores. For maps of 64 or 128 px, its
operations are too short for that. Devices share the batch instead: each computes whole
operations on its own part. docs/performance.md has the measurements.
"""

import os
from collections.abc import Sequence

import jax

from styleprompter_jax.core.process import cores, is_file, jax_has_started

_LARGEST = 128  # pixels; larger images keep all cores busy with one operation
_LEAST = 4  # images of a batch for each device
# XLA ends the process if a device waits for another one, by default for a minute. A
# busy machine can take longer. JAX before 0.10 does not know the option.
_WAIT = "--xla_cpu_collective_call_terminate_timeout_seconds"
_SECONDS = 24 * 60 * 60
_OLDEST = (0, 10)
_split = False  # whether this process made several devices of its CPU


def use_cpu_devices(image_size: int, batch_size: int, group: int = 1) -> int:
    """Splits the CPU into devices, if this is faster for such a batch.

    The function does nothing if JAX has started, or is older than 0.10, if this process
    works with others, or if the user has set the number of devices. It does not change
    other kinds of devices.

    Args:
        image_size: side of the images, in pixels.
        batch_size: images in each step.
        group: each device gets a multiple of this number of images.

    Returns:
        The number of devices that it made; 1 if it did nothing.
    """
    global _split
    count = _best(image_size, batch_size, group, cores())
    if count == 1 or not _may_change():
        return 1
    flags = os.environ.get("XLA_FLAGS", "")
    if _WAIT not in flags:
        os.environ["XLA_FLAGS"] = f"{flags} {_WAIT}={_SECONDS}".lstrip()
    jax.config.update("jax_num_cpu_devices", count)
    _split = True
    return count


def devices_for(
    devices: Sequence[jax.Device], image_size: int, batch_size: int, group: int = 1
) -> Sequence[jax.Device]:
    """Returns the devices that share such a batch.

    These are all, unless `use_cpu_devices` made them: it fitted their number to the
    first batch of the process, and this one may need fewer.

    Args:
        devices: all devices of JAX.
        image_size: see `use_cpu_devices`.
        batch_size: see `use_cpu_devices`.
        group: see `use_cpu_devices`.
    """
    if not _split or devices[0].platform != "cpu":
        return devices
    return devices[: _best(image_size, batch_size, group, len(devices))]


def _best(image_size: int, batch_size: int, group: int, cores: int) -> int:
    """Returns the number of devices for a batch."""
    if image_size > _LARGEST:
        return 1
    for count in range(cores, 1, -1):
        images, rest = divmod(batch_size, count)
        if not rest and images >= _LEAST and images % group == 0:
            return count
    return 1


def _may_change() -> bool:
    """Returns whether JAX can still change its devices, and the user has not."""
    from jaxlib.version import __version_info__

    flags = os.environ.get("XLA_FLAGS", "").strip()
    chosen = "xla_force_host_platform_device_count" in flags
    return (
        __version_info__ >= _OLDEST
        and not (jax_has_started() or is_file(flags) or chosen)
        and jax.config.jax_num_cpu_devices < 0  # type: ignore[attr-defined]
        and not jax.distributed.is_initialized()
    )
