"""Measures the time of the command line from its call to its end.

It measures `invert` of one image at 64 px with the bundled model, with an empty and a
full compilation cache, and `--help`.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

REPEATS = 5
_LOAD = """
import time, jax, styleprompter_jax as sp
sp.load
start = time.perf_counter()
jax.block_until_ready(sp.load("avatars64").params)
print(time.perf_counter() - start)
"""


def startup() -> dict[str, dict]:
    """Returns results by name: {"seconds": median}."""
    with tempfile.TemporaryDirectory() as folder:
        picture = Path(folder, "picture.png")
        pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
        Image.fromarray(pixels).save(picture)

        def invert(cache):
            output = Path(folder, f"output{time.monotonic_ns()}")
            command = ["invert", "--model", "avatars64", "--input", picture]
            return _call(*command, "--output", output, cache=Path(folder, cache))

        cold = [invert(f"cache{k}") for k in range(3)]
        warm = [invert("cache0") for _ in range(REPEATS)]
        aid = [_call("--help", cache=folder) for _ in range(REPEATS)]
        load = [float(_python("-c", _LOAD)) for _ in range(REPEATS)]
    rows = {
        "help": aid,
        "invert_cold": cold,
        "invert_warm": warm,
        "load_avatars64": load,
    }
    return {
        f"start_{name}": {"seconds": statistics.median(row)}
        for name, row in rows.items()
    }


def _call(*arguments, cache) -> float:
    start = time.perf_counter()
    _python("-m", "styleprompter_jax", *arguments, XDG_CACHE_HOME=str(cache))
    return time.perf_counter() - start


def _python(*arguments, **environment) -> str:
    return subprocess.run(
        [sys.executable, *arguments],
        check=True,
        capture_output=True,
        text=True,
        env=os.environ | environment,
    ).stdout
