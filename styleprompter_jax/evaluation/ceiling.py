"""How well a generator can show given images at all: W+ optimised for each.

The best that an encoder without SMART could do, and so the number to look at before
blaming the encoder.
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
    """Codes that reconstruct images best in the mean square, by Adam.

    Args:
        model: the model; starts from its encoder's codes, or from
            latent_avg where it has none.
        images: (b, s, s, 3) in [-1, 1], s the generator's size.
        steps: of Adam.
        learning_rate: of the first step; it falls to zero along a cosine.

    Returns:
        w_plus (b, n, w_dim) and the images (b, s, s, 3) that it renders.
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


def ceiling(model: StylePrompter, count: int, steps: int) -> tuple[float, float]:
    """PSNR in dB and SSIM of the first test avatars, from codes optimised for each."""
    source = TfdsSource("avatars/64", "test")
    images = to_float(np.stack([source[k]["image"] for k in range(count)]))
    _, outputs = optimize_w_plus(model, images, steps=steps)
    target = jnp.asarray(images)
    psnr = np.mean(metrics.psnr(outputs, target))
    ssim = np.mean(metrics.ssim(outputs + 1, target + 1))  # as `evaluate` has it
    return float(psnr), float(ssim)


if __name__ == "__main__":  # the program's name in version 0.1
    raise SystemExit(importlib.import_module("styleprompter_jax.cli.ceiling").main())
