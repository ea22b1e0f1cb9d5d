"""StyleGAN2 for the avatars at 256 px, grown from the bundled generator of 64 px.

    python train.py --config=configs/avatars256_generator.py \
        --workdir=runs/generator256 --config.data.workers=12

The blocks of 4 to 32 px start from those of avatars64. These blocks already know the
layout, so the discriminator sees sharp images from the first step.  Not yet run.
"""

from styleprompter_jax.configs import avatars_generator


def get_config():
    config = avatars_generator.get_config()
    config.batch_size = 64
    config.total_steps = 6_000
    config.eval_every = 2_000
    config.checkpoint_every = 2_000
    config.init_from = "avatars64"
    channels = (128, 128, 128, 64, 48, 32, 16)
    config.model.generator.update(image_size=256, channels=channels)
    config.model.discriminator.update(channels=channels)
    config.data.image_size = 256
    # The same change of an image covers sixteen times as many pixels, and each pixel
    # has a sixteenth of the gradient: 24 would be as strong as 1.5 of :sharpen, 64 px.
    config.loss.update(r1_gamma=8.0, blur_images=0)
    config.optimizer.ema_images = 2e4
    return config
