"""One case in a process of its own: python -m benchmarks.measure CASE.

Prints one line of JSON.  The float32 matmul rate is measured in turn with the case, so
that what slows the machine down slows both.
"""

import json
import resource
import statistics
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp

from benchmarks.cases import CASES

SIDE, REPEATS, SECONDS = 2048, 5, 10.0


def measure(name: str) -> dict:
    start = time.perf_counter()
    case = CASES[name]()
    built = time.perf_counter()
    jax.block_until_ready(case.run())
    first = time.perf_counter() - built
    a = jax.random.normal(jax.random.key(0), (SIDE, SIDE))
    matmul = jax.jit(jnp.dot)
    seconds, matmuls = [], []
    end = time.perf_counter() + SECONDS
    for k in range(1000):
        matmuls.append(_seconds(lambda: matmul(a, a)))
        spent = _seconds(case.run)
        if k:  # the first is for warming up
            seconds.append(spent)
            matmuls.append(_seconds(lambda: matmul(a, a)))
        if len(seconds) >= REPEATS and time.perf_counter() > end:
            break
    rate = 2 * SIDE**3 / statistics.median(matmuls[1:])
    median = statistics.median(seconds)
    return {
        "seconds": median,
        "times_roofline": median * rate / case.flop,
        "images_per_second": case.images / median,
        "gflop": case.flop / 1e9,
        "matmul_gflop_per_second": rate / 1e9,
        "first_call_seconds": first,
        "setup_seconds": built - start,
        "peak_gb": _peak() / 1e9,
        "repeats": len(seconds),
    }


def _seconds(call) -> float:
    start = time.perf_counter()
    jax.block_until_ready(call())
    return time.perf_counter() - start


def _peak() -> float:
    """Bytes of memory that this process held at most."""
    status = Path("/proc/self/status")
    if status.exists():  # ru_maxrss of a child may be its parent's
        (line,) = (s for s in status.read_text().splitlines() if s.startswith("VmHWM"))
        return int(line.split()[1]) * 1024.0
    return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1])))
