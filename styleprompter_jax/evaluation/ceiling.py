"""How well a generator can show given images at all: W+ optimised for each.

    python -m styleprompter_jax.evaluation.ceiling --model avatars64

The best that an encoder without SMART could do, and so the number to look at before
blaming the encoder.
"""

import argparse

import jax
import jax.numpy as jnp
import numpy as np
import optax

from styleprompter_jax.compilation_cache import use_compilation_cache
from styleprompter_jax.ops import metrics


def optimize_w_plus(model, images, *, steps: int = 500, learning_rate: float = 0.05):
    """Codes that reconstruct images best in the mean square, by Adam.

    Args:
      model: a `pipeline.StylePrompter`; starts from its encoder's codes, or from
        latent_avg where it has none.
      images: (b, s, s, 3) in [-1, 1], s the generator's size.
      steps, learning_rate: of Adam; the rate falls to zero along a cosine.

    Returns:
      w_plus (b, n, w_dim) and the images (b, s, s, 3) that it renders.
    """
    cfg = model.config.generator
    if model.config.encoder is None:
        shape = (len(images), cfg.num_codes, cfg.w_dim)
        start = jnp.broadcast_to(model.const["latent_avg"], shape)
    else:
        start = model.encode(images).w_plus
    optimizer = optax.adam(optax.cosine_decay_schedule(learning_rate, steps))
    generator = model.generator
    variables = {
        "params": model.params["generator"],
        "const": model.const["generator"],
    }

    def render(variables, w_plus):
        return generator.apply(variables, w_plus, method=lambda g, w: g.synthesis(w))

    @jax.jit
    def step(w_plus, state, variables, images):
        def loss(w_plus):
            # Summed over images: each one's codes are optimised for themselves.
            return jnp.sum(metrics.mse(render(variables, w_plus), images))

        updates, state = optimizer.update(jax.grad(loss)(w_plus), state)
        return optax.apply_updates(w_plus, updates), state

    w_plus, state = start, optimizer.init(start)
    for _ in range(steps):
        w_plus, state = step(w_plus, state, variables, images)
    return w_plus, jax.jit(render)(variables, w_plus)


def main():
    from styleprompter_jax.data.sources import TfdsSource
    from styleprompter_jax.images.files import to_float
    from styleprompter_jax.pipeline import load

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="avatars64")
    parser.add_argument("--count", type=int, default=20, help="test avatars")
    parser.add_argument("--steps", type=int, default=500)
    args = parser.parse_args()
    use_compilation_cache()
    model = load(args.model)
    source = TfdsSource("avatars/64", "test")
    images = np.stack([source[k]["image"] for k in range(args.count)])
    images = to_float(images)
    _, outputs = optimize_w_plus(model, images, steps=args.steps)
    psnr, ssim = (np.mean(m(outputs, images)) for m in (metrics.psnr, metrics.ssim))
    print(f"{args.count} test avatars: PSNR {psnr:.2f} dB, SSIM {ssim:.3f}")


if __name__ == "__main__":
    main()
