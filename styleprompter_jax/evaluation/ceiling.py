"""Measures the best inversions that a generator allows: W+ optimised for each image.

No encoder without SMART can do better. Compare an encoder with this number first.
"""

import importlib

import jax
import jax.numpy as jnp
import numpy as np

from styleprompter_jax.data.sources import TfdsSource
from styleprompter_jax.editing.latents import Latents
from styleprompter_jax.images.files import to_float
from styleprompter_jax.inversion.pipeline import StylePrompter
from styleprompter_jax.ops import metrics


def optimize_w_plus(
    model: StylePrompter,
    images: np.ndarray,
    *,
    steps: int = 500,
    learning_rate: float = 0.05,
) -> tuple[jax.Array | np.ndarray, jax.Array]:
    """Fits codes to images with Adam, to minimise the mean square error.

    Args:
        model: the model; the fit starts from its encoder's codes, or from latent_avg
            without an encoder.
        images: (b, s, s, 3) in [-1, 1], with s = model.image_size: without an encoder,
            the generator's size.
        steps: steps of Adam.
        learning_rate: learning rate of the first step; it falls to zero along a cosine.

    Returns:
        w_plus (b, n, w_dim), and the images that it renders, of the generator's size.
    """
    if model.config.encoder is None:
        cfg = model.config.generator
        shape = len(images), cfg.num_codes, cfg.w_dim
        start = Latents(jnp.broadcast_to(model.const["latent_avg"], shape))
    else:
        start = model.encode(images)
    fitted = model.optimize(
        images, start, steps, refine=False, structure=0.0, learning_rate=learning_rate
    )
    return fitted.w_plus, model.synthesize(fitted.w_plus)


def ceiling(model: StylePrompter, count: int, steps: int) -> tuple[float, float, int]:
    """Measures optimised codes of the first test avatars.

    Returns:
        PSNR in dB, SSIM, and the number of avatars: `count`, or all if there are fewer.
    """
    source = TfdsSource("avatars/64", "test")
    count = min(count, len(source))
    images = to_float(np.stack([source[k]["image"] for k in range(count)]))
    _, outputs = optimize_w_plus(model, images, steps=steps)
    target = jnp.asarray(images)
    psnr = np.mean(metrics.psnr(outputs, target))
    ssim = np.mean(metrics.ssim(outputs + 1, target + 1))  # the same as in `evaluate`
    return float(psnr), float(ssim), count


if __name__ == "__main__":  # the program's name in version 0.1
    raise SystemExit(importlib.import_module("styleprompter_jax.cli.ceiling").main())
