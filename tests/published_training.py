"""The ten recorded steps of the published training, beside ours.

    PYTHONPATH=. python tests/published_training.py train_baseline
    PYTHONPATH=. python tests/published_training.py train_full

For each step: what was recorded, ours, and ours from images that are 1e-7 larger, which
is what rounding does to them.
"""

import sys
import tempfile
from pathlib import Path

import jax
import numpy as np
from conftest import write_published
from test_perceptual_training import published_images, published_run, write_networks

from styleprompter_jax.training import parallel

STEPS = 10
COLUMNS = ("loss", "loss_id", "grad_norm")


def main(case: str) -> None:
    mesh = parallel.make_mesh(jax.devices()[:1])
    with tempfile.TemporaryDirectory() as folder:
        write_published(Path(folder))
        weights = write_networks(Path(folder))
        expected, objective, start = published_run(case, weights)
    step = parallel.map_step(objective.step, mesh)
    states = [parallel.replicate(jax.tree.map(np.array, start), mesh) for _ in range(2)]
    print("| step |", " | ".join(f"{name}: recorded, ours, 1e-7" for name in COLUMNS))
    for t in range(STEPS):
        found = []
        for k, scale in enumerate((1.0, 1 + 1e-7)):
            images = (scale * published_images(expected, t)).astype(np.float32)
            batch = {"image": images}
            states[k], metrics = step(states[k], batch, jax.random.key(0))
            found.append(metrics)
        cells = (
            ", ".join(f"{row[name]:.6g}" for row in ({name: expected[name][t]}, *found))
            for name in COLUMNS
        )
        print(f"| {t} |", " | ".join(cells), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
