"""Makes the images of README.md and docs/models.md from the bundled models.

    python docs/pictures.py

With the models of the two other tasks of configs/avatars_psp.py, it makes the image of
docs/training.md instead:

    python docs/pictures.py runs/larger/model runs/whole/model
"""

import sys
from pathlib import Path

import jax
import numpy as np
from PIL import Image

import styleprompter_jax as sp
from styleprompter_jax.data.inputs import downsample, mask
from styleprompter_jax.data.loader import eval_batches
from styleprompter_jax.data.sources import TfdsSource
from styleprompter_jax.demo import EDITS, choose_faces, make_sheet
from styleprompter_jax.images.files import to_uint8, write_image
from styleprompter_jax.images.sheets import image_grid, sheet

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


def cells(model, rows: int = 6) -> np.ndarray:
    """A table of drawn cells, and of edits of each to the eight classes."""
    z = jax.random.normal(jax.random.key(1), (rows, model.config.generator.z_dim))
    images = model.synthesize(model.mapping(z, truncation_psi=0.8))
    latents = model.encode(images)
    columns = {"drawn": images, "inverted": model.decode(latents)}
    for name, direction in model.directions.items():
        edited = latents.edit(direction, direction.strength)
        options = model.options_of(direction)
        columns[name.removeprefix("cell_")] = model.decode(edited, **options)
    table = zip(*(to_uint8(column) for column in columns.values()), strict=True)
    return sheet(list(table), list(columns), cell=model.image_size)


def animation(model, images, frames: int = 10) -> list[Image.Image]:
    """Frames of EDITS, one after the other: each comes and goes. Enlarged twice."""
    latents = model.encode(images)
    still = np.asarray(model.decode(latents))
    result = [still] * frames
    for title, name, _ in EDITS:
        direction = model.directions[name]
        print(f"The animation: {title}")
        options = model.options_of(direction)
        # From the refined image to the options of the edit, as the strength grows.
        moved = []
        for share in np.sin(np.linspace(0, np.pi / 2, frames)) ** 2:
            edited = latents.edit(direction, share * direction.strength)
            edit = np.asarray(model.decode(edited, **options))
            plain = np.asarray(model.decode(latents, **options))
            moved.append(edit + (1 - share) * (still - plain))
        result += [*moved, *[moved[-1]] * frames, *reversed(moved)]
    rows = (image_grid(to_uint8(frame), columns=len(images)) for frame in result)
    pictures = map(Image.fromarray, rows)
    return [x.resize((2 * x.width, 2 * x.height), Image.LANCZOS) for x in pictures]


def tasks(larger, whole, images, seed: int = 0) -> np.ndarray:
    """A row for each face: smaller by 4 and 8, with a hole, and what a model makes.

    Args:
        larger: a model trained for super-resolution.
        whole: a model trained for inpainting.
        images: (b, s, s, 3) in [-1, 1].
        seed: of the holes.
    """
    rng = np.random.default_rng(seed)
    pixels = to_uint8(images)
    columns = {"image": pixels}
    for given, made, model, change in (
        ("1/4", "from 1/4", larger, lambda x: downsample(x, rng, (4,))),
        ("1/8", "from 1/8", larger, lambda x: downsample(x, rng, (8,))),
        ("hole", "filled", whole, lambda x: mask(x, rng)),
    ):
        columns[given] = np.stack([change(x) for x in pixels])
        latents = model.encode(columns[given].astype(np.float32) / 127.5 - 1)
        columns[made] = to_uint8(model.decode(latents))
    return sheet(list(zip(*columns.values(), strict=True)), list(columns), cell=64)


def faces() -> tuple:
    """A batch of the test split, and the indices of faces that show all edits."""
    source = TfdsSource("avatars/64", "test")
    batch = next(eval_batches(source, batch_size=50, image_size=64))
    return batch, choose_faces(source, batch)


def main():
    batch, chosen = faces()
    if sys.argv[1:]:
        drawn = tasks(*map(sp.load, sys.argv[1:]), batch["image"][chosen])
        write_image(drawn, FOLDER / "tasks.png")
        return
    model = sp.load("avatars64")
    write_image(samples(model), FOLDER / "samples.png")
    photographic = sp.load("cells64")
    write_image(samples(photographic), FOLDER / "cells.png")
    write_image(cells(photographic), FOLDER / "cells_edits.png")
    drawn = make_sheet({"avatars64": model}, model.directions, batch, chosen)
    write_image(drawn, FOLDER / "inversions.png")
    first, *others = animation(model, batch["image"][chosen])
    first.save(
        FOLDER / "edits.webp",
        save_all=True,
        append_images=others,
        duration=60,
        loop=0,
        quality=60,
        method=6,
    )


if __name__ == "__main__":
    main()
