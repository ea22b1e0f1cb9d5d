"""StyleGAN2 of faces at 1024 px, with the published architecture and constants.

    python train.py --config=configs/ffhq_generator.py --workdir=runs/ffhq_generator \
        --config.data.path=FOLDER --config.data.workers=12

FOLDER holds the images of FFHQ at any depth. The Frechet distance compares with all of
them. The constants are those of config F: 25 million images, half of them mirrored.

Not yet run. --compile_only=SLICE prints the memory that it needs.
"""

from styleprompter_jax.configs import avatars_generator


def get_config():
    config = avatars_generator.get_config()
    config.batch_size = 32
    config.total_steps = 781_250
    config.eval_every = 10_000
    config.checkpoint_every = 5_000
    # Without channels, both networks have the widths of config F.
    config.model.generator = dict(image_size=1024, mapping_layers=8)
    config.model.discriminator = dict(mbstd_group=4)
    config.data.update(
        name="folder", train_split="", eval_split="", image_size=1024, flip=True
    )
    config.loss.update(
        r1_gamma=10.0,
        path_length_weight=2.0,
        style_mixing=0.9,
        noise_mode="random",
        blur_images=0,
    )
    config.optimizer.ema_images = 1e4
    return config
