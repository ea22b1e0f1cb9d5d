"""StyleGAN2 for the bundled avatars, 64 px, and a second run that sharpens its images.

    python train.py --config=configs/avatars_generator.py --workdir=runs/generator
    python train.py --config=configs/avatars_generator.py:sharpen --workdir=runs/sharp \
        --config.init_from=runs/generator/model
"""

from ml_collections import ConfigDict

from styleprompter_jax.core.errors import StylePrompterError


def get_config(run: str = ""):
    config = _first()
    if run == "sharpen":
        # The generator knows the layout: the discriminator may see details now.
        config.batch_size = 16
        config.total_steps = 10_000
        config.learning_rate = 1.5e-3
        config.eval_every = 500
        config.init_from = "runs/generator/model"
        config.loss.update(r1_gamma=1.5, blur_images=0)
        config.optimizer.ema_images = 1e4
    elif run:
        raise StylePrompterError(f"avatars_generator.py:{run}: there is only :sharpen.")
    return config


def _first():
    config = ConfigDict()
    config.stage = "generator"
    config.seed = 0
    config.batch_size = 8
    config.total_steps = 50_000
    config.learning_rate = 2e-3
    config.log_every = 50
    config.eval_every = 1_000
    config.checkpoint_every = 500
    config.dtype = "float32"
    config.on_nan = "stop"
    config.init_from = ""

    config.model = ConfigDict()
    config.model.generator = ConfigDict(
        dict(
            image_size=64,
            channels=(128, 128, 128, 64, 16),
            z_dim=512,
            w_dim=512,
            mapping_layers=2,
        )
    )
    config.model.discriminator = ConfigDict(
        dict(channels=(128, 128, 128, 64, 16), mbstd_group=4)
    )

    config.data = ConfigDict(
        dict(
            name="avatars",
            train_split="train",
            eval_split="validation",
            path="",
            image_size=64,
            flip=False,
            crop="center",
            workers=0,
            on_bad="error",
        )
    )
    config.loss = ConfigDict(
        dict(
            # Flat colours make the discriminator's task too easy: penalise it more.
            r1_gamma=10.0,
            r1_every=16,
            path_length_weight=0.0,
            path_length_every=4,
            style_mixing=0.5,
            # Noise models texture, and flat artwork has no texture.
            noise_mode="none",
            blur_sigma=4.0,
            blur_images=36_000,
            # For few images: "adaptive".
            augment="none",
            augment_p=0.0,
            augment_target=0.6,
            augment_images=500_000,
        )
    )
    config.optimizer = ConfigDict(
        dict(beta1=0.0, beta2=0.99, eps=1e-8, ema_images=5e3, frozen_blocks=0)
    )
    return config
