"""SMART for your own images and the encoder of configs/own_images_encoder.py.

    python train.py --config=configs/own_images_smart.py \
        --workdir=runs/own_images_smart --config.data.path=FOLDER

Set data.image_size to the same value as for the encoder.

Not yet run. --compile_only=SLICE prints the memory; the time is not known.
"""

from styleprompter_jax.configs import own_images_encoder
from styleprompter_jax.configs.ffhq_smart import smart_after


def get_config():
    config = own_images_encoder.get_config()
    config.total_steps = 100_000
    return smart_after(config, "runs/own_images_encoder/model")
