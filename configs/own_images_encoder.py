"""An encoder for your own images, from a folder and a generator of the same domain.

    styleprompter convert GENERATOR runs/own_generator
    python train.py --config=configs/own_images_encoder.py \
        --workdir=runs/own_images_encoder --config.data.path=FOLDER

GENERATOR is a .pt or .pkl file of StyleGAN2. You can also train the generator with
configs/own_images_generator.py; then set
--config.init_from=runs/own_images_generator/model_best. FOLDER holds the images at any
depth. The first 256 images by name are kept for validation.

For a generator of 64 px, use the smaller encoder of avatars64, from its trunk on:

    python train.py --config=configs/own_images_encoder.py:64 \
        --workdir=runs/own_images_encoder --config.data.path=FOLDER

Its generator comes from configs/own_images_generator.py, and a tenth of the images is
kept for validation.

You need no other files: SSIM over several scales replaces the perceptual networks.
LPIPS gives better results. If you have converted it, add to a command without :64:
--config.loss.structure=0 --config.loss.lpips=0.6
--config.loss.lpips_weights=runs/lpips.

The run without :64 is not yet run. --compile_only=SLICE prints its memory; the time is
not known.
"""

from styleprompter_jax.configs import (
    avatars_encoder,
    ffhq_encoder,
    own_images_generator,
)
from styleprompter_jax.core.errors import StylePrompterError


def get_config(size: str = ""):
    if size == "64":
        config = avatars_encoder.get_config()
        config.total_steps = 1_500
        config.init_from = "runs/own_images_generator/model_best"
        config.init_trunk = "avatars64"
        config.data = own_images_generator.get_config().data
        config.data.update(train_split="[10%:]", eval_split="[:10%]")
        return config
    if size:
        raise StylePrompterError(f"own_images_encoder.py:{size}: there is only :64.")
    config = ffhq_encoder.get_config()
    config.batch_size = 8
    config.total_steps = 200_000
    config.init_from = "runs/own_generator"
    config.init_encoder = False
    config.model.encoder.patch_size = 4
    config.model.encoder.window_size = 16
    config.data.train_split = "[256:]"
    config.data.eval_split = "[:256]"
    config.data.on_bad = "skip"
    config.loss.update(
        structure=0.3,
        align=0.01,
        lpips=0.0,
        lpips_weights="",
        id=0.0,
        id_weights="",
    )
    config.optimizer.update(
        name="adam",
        beta1=0.9,
        beta2=0.99,
        eps=1e-8,
        clip_norm=1.0,
        schedule="cosine",
        warmup_steps=1_000,
    )
    return config
