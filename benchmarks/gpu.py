"""One case on a GPU, in a process of its own: python -m benchmarks.gpu CASE.

Weights are random and of the published sizes.  In turn with the case runs a bfloat16
matmul (8192 x 8192).  Memory is the most that JAX held on the device: much more in a
first run, which compiles and tries kernels out, than in one that finds them in
JAX_COMPILATION_CACHE_DIR.
"""

import os
import sys
from functools import partial

os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")

import jax
import jax.numpy as jnp

from benchmarks.cases import inversion, training
from benchmarks.measure import measure

CASES = {
    "invert_1024_batch8": partial(inversion, 1024, 8),
    **{
        f"{stage}_step_1024_{dtype}_batch{batch}": partial(
            training, stage, 1024, batch, dtype
        )
        for stage in ("encoder", "smart")
        for dtype, batch in (("float32", 4), ("bfloat16", 16))
    },
}


def main(name: str = "") -> None:
    if name not in CASES:
        sys.exit(f"There is no case {name!r}; the cases are {', '.join(CASES)}.")
    row = measure(CASES[name], 8192, jnp.bfloat16)
    device, images = jax.devices()[0], row["images_per_second"]
    tflop = row["gflop"] / row["seconds"] / 1e3
    memory = (device.memory_stats() or {}).get("peak_bytes_in_use", 0) / 1e9
    print(
        f"{name} on {device.device_kind}: {images:.1f} images/s, {tflop:.1f} TFLOP/s, "
        f"{memory:.2f} GB, first call {row['first_call_seconds']:.0f} s"
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
