"""Measures one case in its own process: python -m benchmarks.measure CASE.

It prints one line of JSON. It measures the float32 matmul rate and the case in turn, so
that a slower machine slows both. On a shared machine, the ratio of processor times is
more stable.
"""

import json
import resource
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp

from benchmarks.cases import CASES, Case

SIDE, REPEATS, SECONDS = 2048, 5, 10.0


def measure(build: Callable[[], Case], side: int = SIDE, dtype=jnp.float32) -> dict:
    """Times the case of `build`, in turn with a matmul of `side` and `dtype`."""
    start = time.perf_counter()
    case = build()
    built = time.perf_counter()
    jax.block_until_ready(case.run())
    first = time.perf_counter() - built
    a = jax.random.normal(jax.random.key(0), (side, side), dtype)
    matmul = jax.jit(jnp.dot)
    calls, matmuls = [], []
    end = time.perf_counter() + SECONDS
    for k in range(1000):
        before, call = _times(lambda: matmul(a, a)), _times(case.run)
        if k:  # the first is for warming up
            calls.append(call)
            matmuls += before, _times(lambda: matmul(a, a))
        if len(calls) >= REPEATS and time.perf_counter() > end:
            break
    median, cpu = map(statistics.median, zip(*calls, strict=True))
    matmul_median, matmul_cpu = map(statistics.median, zip(*matmuls, strict=True))
    rate = 2 * side**3 / matmul_median
    return {
        "seconds": median,
        "times_roofline": median * rate / case.flop,
        "processor_times_roofline": cpu / matmul_cpu * 2 * side**3 / case.flop,
        "images_per_second": case.images / median,
        "gflop": case.flop / 1e9,
        "matmul_gflop_per_second": rate / 1e9,
        "first_call_seconds": first,
        "setup_seconds": built - start,
        "peak_gb": _peak() / 1e9,
        "repeats": len(calls),
    }


def _times(call) -> tuple[float, float]:
    """Returns the wall time and the processor time on all cores, in seconds."""
    start, cpu = time.perf_counter(), time.process_time()
    jax.block_until_ready(call())
    return time.perf_counter() - start, time.process_time() - cpu


def _peak() -> float:
    """Returns the peak memory of this process in bytes."""
    status = Path("/proc/self/status")
    if status.exists():  # ru_maxrss of a child may be its parent's
        (line,) = (s for s in status.read_text().splitlines() if s.startswith("VmHWM"))
        return int(line.split()[1]) * 1024.0
    return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


if __name__ == "__main__":
    print(json.dumps(measure(CASES[sys.argv[1]])))
