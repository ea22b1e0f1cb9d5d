"""Makes the pictures of README.md from the bundled model.

python docs/pictures.py
"""

from pathlib import Path

import jax
import numpy as np

import styleprompter_jax as sp
from styleprompter_jax.data.loader import eval_batches
from styleprompter_jax.data.sources import TfdsSource
from styleprompter_jax.demo import choose_faces, make_sheet
from styleprompter_jax.images.files import image_grid, to_uint8, write_image

FOLDER = Path(__file__).parent / "images"


def samples(model, rows: int = 5, columns: int = 8) -> np.ndarray:
    """Two grids of the same z: truncation_psi 1.0 on the left, 0.7 on the right."""
    shape = (rows * columns, model.config.generator.z_dim)
    z = jax.random.normal(jax.random.key(0), shape)
    grids = []
    for psi in (1.0, 0.7):
        images = model.synthesize(model.mapping(z, truncation_psi=psi))
        grids.append(image_grid(to_uint8(images), columns=columns))
    gap = np.full((grids[0].shape[0], 16, 3), 255, np.uint8)
    return np.concatenate([grids[0], gap, grids[1]], axis=1)


def main():
    model = sp.load("avatars64")
    write_image(samples(model), FOLDER / "samples.png")
    source = TfdsSource("avatars/64", "test")
    batch = next(eval_batches(source, batch_size=50, image_size=model.image_size))
    chosen = choose_faces(source, batch)
    sheet = make_sheet({"avatars64": model}, model.directions, batch, chosen)
    write_image(sheet, FOLDER / "inversions.png")


if __name__ == "__main__":
    main()
