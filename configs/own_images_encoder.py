"""An encoder for your own images, from a folder and a generator of the same domain.

    styleprompter convert GENERATOR runs/own_generator
    python train.py --config=configs/own_images_encoder.py \
        --workdir=runs/own_images_encoder --config.data.path=FOLDER

GENERATOR is a .pt or .pkl file of StyleGAN2. You can also train the generator
(configs/avatars_generator.py with data.name="folder"); then set --config.init_from to
its model folder. FOLDER holds the images at any depth. The first 256 images by name are
kept for validation. For a generator below 256 px, for example 64 px, add:

    --config.data.image_size=64 --config.model.encoder.patch_size=2 \
        --config.model.encoder.window_size=8

You need no other files: SSIM over several scales replaces the perceptual networks.
LPIPS gives better results. If you have converted it, add: --config.loss.structure=0
--config.loss.lpips=0.6 --config.loss.lpips_weights=runs/lpips.

Not yet run. --compile_only=SLICE prints the memory; the time is not known.
"""

from styleprompter_jax.configs import ffhq_encoder


def get_config():
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
