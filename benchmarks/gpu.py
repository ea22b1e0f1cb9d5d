"""Measures one case on a GPU, or on this machine's CPU, in its own process.

    python -m benchmarks.gpu CASE                   our models
    python -m benchmarks.gpu CASE --torch eager     PyTorch's models, written for speed;
                                                    or --torch compile, or
                                                    --torch published
    python -m benchmarks.gpu limits                 the limits of the device

Weights are random, with the published sizes, and both sides have the same weights. The
program queues ten calls (two on a CPU), and then waits for them. Memory is the peak on
the device. Our first run needs much more memory than later runs, because it compiles
and tries kernels. Later runs find them in JAX_COMPILATION_CACHE_DIR.
"""

import argparse
import os
import statistics
import time

os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")

import jax
import jax.numpy as jnp

from benchmarks import cases

QUEUED, REPEATS = (2, 3) if jax.default_backend() == "cpu" else (10, 5)
# By name: the case, the generator's size, the batch size, the number format.
CASES = {
    **{
        f"invert_1024_{dtype}_batch{batch}": ("invert", 1024, batch, dtype)
        for dtype in ("float32", "bfloat16")
        for batch in (1, 8, 32)
    },
    **{
        f"{stage}_step_1024_{dtype}_batch{batch}": (stage, 1024, batch, dtype)
        for stage in ("encoder", "smart")
        for dtype, batch in (("float32", 4), ("bfloat16", 16))
    },
    **{
        f"{name}_encode_1024_{dtype}_batch{batch}": (name, 1024, batch, dtype)
        for name in ("psp", "e4e")
        for dtype, batch in (("float32", 1), ("float32", 8), ("bfloat16", 8))
    },
    # Small enough for a CPU.
    "invert_256_float32_batch1": ("invert", 256, 1, "float32"),
    "encoder_step_256_float32_batch2": ("encoder", 256, 2, "float32"),
    "smart_step_256_float32_batch2": ("smart", 256, 2, "float32"),
    "generator_step_64_float32_batch8": ("generator", 64, 8, "float32"),
    **{
        f"generator_step_256_{dtype}_batch16": ("generator", 256, 16, dtype)
        for dtype in ("float32", "bfloat16")
    },
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("case", choices=["limits", *CASES])
    parser.add_argument("--torch", choices=["eager", "compile", "published"])
    args = parser.parse_args()
    if args.case == "limits":
        print("; ".join(limits()))
        return
    kind, size, batch, dtype = CASES[args.case]
    start = time.perf_counter()
    if args.torch:
        from benchmarks import torch_cases

        case = torch_cases.make(kind, size, batch, dtype, args.torch)
        wait = torch_cases.wait
    else:
        case, wait = ours(kind, size, batch, dtype), jax.block_until_ready
    first = _seconds(case.run, wait, 1)
    built = time.perf_counter() - start
    rate = case.images / statistics.median(
        _seconds(case.run, wait, QUEUED) for _ in range(REPEATS)
    )
    if args.torch:
        peak, device = torch_cases.peak_bytes(), f"PyTorch, {args.torch}"
    else:
        device = jax.devices()[0]
        peak = (device.memory_stats() or {}).get("peak_bytes_in_use", 0)
        device = device.device_kind
    work = f", {case.flop / case.images * rate / 1e12:.3g} TFLOP/s" if case.flop else ""
    print(
        f"{args.case} on {device}: {rate:.3g} images/s{work}, {peak / 1e9:.2f} GB, "
        f"first call {first:.0f} s of {built:.0f}"
    )


def ours(kind: str, size: int, batch: int, dtype: str) -> cases.Case:
    """Makes the case with our models."""
    if kind == "invert":
        return cases.inversion(size, batch, dtype)
    if kind in cases.ENCODERS:
        return cases.encoding(kind, size, batch, dtype)
    if kind == "generator":
        return cases.generator(size, batch, dtype)
    return cases.training(kind, size, batch, dtype)


def limits():
    """Measures the rates of matrix products (8192 x 8192) and of a pass over memory."""
    matmul = jax.jit(jnp.dot)
    for dtype in (jnp.bfloat16, jnp.float32):
        a = jax.random.normal(jax.random.key(0), (8192, 8192), dtype)
        seconds = _limit(lambda a=a: matmul(a, a))
        yield f"{dtype.__name__} matmul {2 * 8192**3 / seconds / 1e12:.0f} TFLOP/s"
    x = jnp.ones(2**29, jnp.float32)
    add = jax.jit(lambda x: x + 1)
    yield f"memory {2 * x.nbytes / _limit(lambda: add(x)) / 1e12:.2f} TB/s"


def _limit(run):
    _seconds(run, jax.block_until_ready, 1)
    return min(_seconds(run, jax.block_until_ready, QUEUED) for _ in range(REPEATS))


def _seconds(run, wait, count: int) -> float:
    """Returns the seconds of one call, with ``count`` calls in the queue."""
    start = time.perf_counter()
    for _ in range(count):
        result = run()
    wait(result)
    return (time.perf_counter() - start) / count


if __name__ == "__main__":
    main()
