"""How well a model inverts images, in numbers."""

from collections.abc import Iterable

import jax
import jax.numpy as jnp
import numpy as np

from styleprompter_jax.ops.metrics import mse, psnr, ssim
from styleprompter_jax.pipeline import StylePrompter
from styleprompter_jax.training.losses import pool_to

METRICS = {"mse": mse, "psnr": psnr, "ssim": ssim}


def evaluate(model: StylePrompter, batches: Iterable) -> dict:
    """Inverts images and compares the results with them.

    Where the generator's images are larger than the input, they are averaged down to
    its size. A last, smaller batch is compiled anew.

    Args:
        model: with an encoder, and with SMART for the refined half of the results.
        batches: of images (b, s, s, 3) in [-1, 1], s = model.image_size, or of dicts
            with such an "image".

    Returns:
        {"num_images": int, "w_plus": {...}, "refined": {...}}: the mean over all images
        of "mse" (on the [-1, 1] scale), "psnr" (decibels) and "ssim"; "refined" only
        where the model has SMART.
    """
    values = {"w_plus": []}
    if model.config.smart is not None:
        values["refined"] = []
    for batch in batches:
        images = batch["image"] if isinstance(batch, dict) else batch
        latents = model.encode(images)
        for name, rows in values.items():
            outputs = model.decode(latents, refine=name == "refined")
            rows.append(np.asarray(_compare(outputs, images)))
    values = {name: np.concatenate(rows, axis=1) for name, rows in values.items()}
    means = {
        name: dict(zip(METRICS, map(float, rows.mean(axis=1)), strict=True))
        for name, rows in values.items()
    }
    return {"num_images": values["w_plus"].shape[1]} | means


@jax.jit
def _compare(outputs, images):
    """Each metric of each image: (metrics, b)."""
    size = min(outputs.shape[1], images.shape[1])
    outputs, images = pool_to(outputs, size), pool_to(images, size)
    return jnp.stack([metric(outputs, images) for metric in METRICS.values()])
