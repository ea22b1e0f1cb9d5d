"""Records the conditions of a measurement: versions, device, weights, time."""

import platform
import time
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path

import jax
import numpy as np

from styleprompter_jax.core.process import cores
from styleprompter_jax.core.sums import sha256  # noqa: F401 - hashes of the weights
from styleprompter_jax.version import __version__

PACKAGES = ("jax", "jaxlib", "flax", "numpy", "pillow")


def versions() -> dict[str, str]:
    """Returns the versions of this package, Python and the packages that matter."""
    found = {"styleprompter_jax": __version__, "python": platform.python_version()}
    return found | {name: metadata.version(name) for name in PACKAGES}


def device() -> dict:
    """Returns the device that JAX computes on, and its precision."""
    first = jax.devices()[0]
    # The import of JAX makes these attributes.
    precision = jax.config.jax_default_matmul_precision  # type: ignore[attr-defined]
    return {
        "platform": first.platform,
        "kind": _processor() if first.platform == "cpu" else first.device_kind,
        "devices": jax.device_count(),
        "cores": cores(),
        "matmul_precision": precision or "default",
    }


def seconds(call: Callable, inputs: Sequence) -> dict[str, float | int]:
    """Measures the time of a call for each of several inputs.

    It waits for each result. Before, it calls the first inputs once without timing, so
    that the measured calls compile nothing.

    Returns:
        "median" and "p95" of the wall time in seconds; "processor", the median time of
        all cores, which other programs on the machine do not change much; and the
        "count" of the calls.
    """
    times, processor = [], []
    for k, value in enumerate([*inputs[:1], *inputs]):
        start, busy = time.perf_counter(), time.process_time()
        jax.block_until_ready(call(value))
        if k:
            times.append(time.perf_counter() - start)
            processor.append(time.process_time() - busy)
    return {
        "median": float(np.median(times)),
        "p95": float(np.percentile(times, 95)),
        "processor": float(np.median(processor)),
        "count": len(times),
    }


def _processor() -> str:
    """Returns the name of the processor, or "" if the system does not tell it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(x for x in lines if x.startswith("model name")).split(": ")[1]
    except (OSError, StopIteration, IndexError):
        return platform.processor()
