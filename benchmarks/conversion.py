"""Times the conversion of a complete 1024 px checkpoint, and the loading of the result.

python -m benchmarks.conversion [e4e]

The checkpoint has the published sizes and random weights. Each step runs in its own
process, on one core if the system allows it.
"""

import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import jax
import numpy as np

from styleprompter_jax.convert.export import export_model
from styleprompter_jax.convert.reading.torch_file import write_torch
from styleprompter_jax.models.encoders.psp import PspConfig
from styleprompter_jax.models.encoders.swin import SwinConfig
from styleprompter_jax.models.generators.stylegan2 import GeneratorConfig
from styleprompter_jax.models.inverter import StylePrompterConfig
from styleprompter_jax.models.refiners.smart import SmartConfig
from styleprompter_jax.store import model_folder

# The kernel's peak (Linux), because a child's ru_maxrss may be that of its parent.
CONVERT = """
import sys
from styleprompter_jax.cli import main
main(["convert", *sys.argv[1:]])
(peak,) = (line for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(peak.split()[1])
"""
LOAD = """
import sys, time, jax, styleprompter_jax as sp
sp.load
wall, cpu = time.perf_counter(), time.process_time()
jax.block_until_ready(sp.load(sys.argv[1]).params)
wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
print(f"sp.load, without imports: {wall:.1f} s, {cpu:.1f} s of the processor")
"""


CONFIGS = {
    "styleprompter": StylePrompterConfig(
        SwinConfig(), SmartConfig(), GeneratorConfig()
    ),
    "e4e": StylePrompterConfig(PspConfig("Encoder4Editing"), None, GeneratorConfig()),
}


def write_checkpoint(path: Path, config: StylePrompterConfig) -> None:
    rng = np.random.default_rng(0)
    variables = jax.tree.map(
        lambda leaf: rng.standard_normal(leaf.shape, np.float32),
        model_folder.model_shapes(config),
    )
    write_torch(path, export_model(config, variables)[1])


def main(name: str = "styleprompter"):
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    with tempfile.TemporaryDirectory() as folder:
        file, model = Path(folder, "official.pt"), Path(folder, "model")
        write_checkpoint(file, CONFIGS[name])
        command = [sys.executable, "-c", CONVERT, file, model]
        start = time.perf_counter()
        said = subprocess.run(command, check=True, capture_output=True).stdout
        wall = time.perf_counter() - start
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        size, peak = file.stat().st_size / 2**20, int(said.split()[-1]) / 2**10
        print(
            f"convert, {size:.0f} MiB: {wall:.1f} s, "
            f"{used.ru_utime + used.ru_stime:.1f} s of the processor, "
            f"peak {peak:.0f} MiB ({peak / size:.1f} times the file)"
        )
        subprocess.run([sys.executable, "-c", LOAD, model], check=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
