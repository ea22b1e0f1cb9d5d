"""Times the forms of the upsampling convolution, by layer: forward and data gradient.

GLIBC_TUNABLES=glibc.malloc.hugetlb=1 taskset -c 0 python -m benchmarks.forms
"""

import statistics
import time

import jax
import jax.numpy as jnp

from styleprompter_jax.ops import upsample_conv as forms

LAYERS = ((32, 512, 512), (64, 512, 256), (128, 256, 128), (256, 128, 64))
LAYERS += ((512, 64, 32),)  # px of the input, channels in and out; config F, 1024 px
COLUMNS = ("dilation", "phases", "gradient", "in phases")
SIDE, REPEATS = 1024, 3


def main():
    a = jax.random.normal(jax.random.key(0), (SIDE, SIDE))
    rate = 2 * SIDE**3 / _seconds(jnp.dot, a, a)
    print(f"{rate / 1e9:.0f} GFLOP/s; times roofline, in time of the processor")
    print("input, channels " + "".join(f"{name:>10}" for name in COLUMNS))

    for size, i, o in LAYERS:
        x = jax.random.normal(jax.random.key(0), (1, size, size, i))
        kernel = jax.random.normal(jax.random.key(1), (3, 3, i, o)) / (9 * i) ** 0.5
        g = jax.random.normal(jax.random.key(2), (1, 2 * size + 1, 2 * size + 1, o))
        ideal = 2 * 9 * i * o * size**2 / rate
        turned = kernel.swapaxes(2, 3)
        row = [
            _seconds(forms.by_dilation, x, kernel),
            _seconds(forms.by_phases, x, kernel),
            _seconds(forms.strided_conv, g, turned),
            _seconds(forms.strided_conv_by_phases, g, turned),
        ]
        cells = "".join(f"{seconds / ideal:10.2f}" for seconds in row)
        print(f"{size:4} px, {i:3} -> {o:3}{cells}", flush=True)


def _seconds(function, *arguments) -> float:
    function = jax.jit(function)
    jax.block_until_ready(function(*arguments))
    seconds = []
    for _ in range(REPEATS):
        start = time.process_time()
        jax.block_until_ready(function(*arguments))
        seconds.append(time.process_time() - start)
    return statistics.median(seconds)


if __name__ == "__main__":
    main()
