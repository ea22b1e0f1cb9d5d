"""What calls take on a GPU, each in a process of its own.

    python -m benchmarks.gpu [CASE...]      all, or those whose names begin so

Weights are random and of the published sizes. TFLOP/s count useful work
(benchmarks/work.py), beside the device's peak in bfloat16. Memory is the most that JAX
held on the device: much more in a first run, which compiles and tries kernels out, than
in one that finds them in JAX_COMPILATION_CACHE_DIR.
"""

import os
import statistics
import subprocess
import sys
import time
from functools import partial

os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")

import jax

from benchmarks.cases import inversion, training
from styleprompter_jax.training.hardware import peak_flops

SECONDS = 5.0
CASES = {
    "invert_256_batch32": partial(inversion, 256, 32),
    "invert_1024_batch8": partial(inversion, 1024, 8),
    **{
        f"{stage}_step_1024_{dtype}_batch{batch}": partial(
            training, stage, 1024, batch, dtype
        )
        for stage in ("encoder", "smart")
        for dtype, batch in (("float32", 4), ("bfloat16", 8), ("bfloat16", 16))
    },
}


def main(names: list[str]) -> None:
    wanted = [n for n in CASES if not names or any(n.startswith(m) for m in names)]
    if not wanted:
        sys.exit(f"There is no such case; the cases are {', '.join(CASES)}.")
    if wanted == names and len(names) == 1:
        measure(*names)
    else:
        for name in wanted:
            command = [sys.executable, "-m", "benchmarks.gpu", name]
            subprocess.run(command, check=True)


def measure(name: str) -> None:
    device = jax.devices()[0]
    start = time.perf_counter()
    case = CASES[name]()
    jax.block_until_ready(case.run())
    first, calls = time.perf_counter() - start, []
    end = time.perf_counter() + SECONDS
    while len(calls) < 6 or time.perf_counter() < end:
        before = time.perf_counter()
        jax.block_until_ready(case.run())
        calls.append(time.perf_counter() - before)
    seconds = statistics.median(calls[1:])  # the first is for warming up
    rate, peak = case.flop / seconds, peak_flops(device.device_kind)
    share = f" ({rate / peak:.0%})" if peak else ""
    memory = (device.memory_stats() or {}).get("peak_bytes_in_use", 0)
    print(
        f"{name:34} {device.device_kind}: {case.images / seconds:6.1f} images/s, "
        f"{rate / 1e12:.1f} TFLOP/s{share}, {memory / 1e9:.2f} GB, "
        f"first call {first:.0f} s",
        flush=True,
    )


if __name__ == "__main__":
    main(sys.argv[1:])
