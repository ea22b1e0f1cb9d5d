"""What a measured number depends on: versions, device, weights, time."""

import os
import platform
import time
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path

import jax
import numpy as np

from styleprompter_jax.core.sums import sha256  # noqa: F401 - of what is measured
from styleprompter_jax.version import __version__

PACKAGES = ("jax", "jaxlib", "flax", "numpy", "pillow")


def versions() -> dict[str, str]:
    """Of this program, Python and the packages that numbers depend on."""
    found = {"styleprompter_jax": __version__, "python": platform.python_version()}
    return found | {name: metadata.version(name) for name in PACKAGES}


def device() -> dict:
    """What JAX computes on, and how exactly."""
    first = jax.devices()[0]
    # JAX makes these attributes when it is imported.
    precision = jax.config.jax_default_matmul_precision  # type: ignore[attr-defined]
    return {
        "platform": first.platform,
        "kind": _processor() if first.platform == "cpu" else first.device_kind,
        "devices": jax.device_count(),
        "cores": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
        "matmul_precision": precision or "default",
    }


def seconds(
    call: Callable, inputs: Sequence, warm_up: int = 1
) -> dict[str, float | int]:
    """Wall time of a call for each of several inputs.

    Each result is waited for. The first inputs are called once more before, untimed:
    what is compiled is compiled then.

    Returns:
        "median" and "p95" in seconds, and their "count".
    """
    times = []
    for k, value in enumerate([*inputs[:warm_up], *inputs]):
        start = time.perf_counter()
        jax.block_until_ready(call(value))
        if k >= warm_up:
            times.append(time.perf_counter() - start)
    return {
        "median": float(np.median(times)),
        "p95": float(np.percentile(times, 95)),
        "count": len(times),
    }


def _processor() -> str:
    """The name of the processor; "" where the system does not tell."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(x for x in lines if x.startswith("model name")).split(": ")[1]
    except (OSError, StopIteration, IndexError):
        return platform.processor()
