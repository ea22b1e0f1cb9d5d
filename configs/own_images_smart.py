"""SMART for your own images and the encoder of configs/own_images_encoder.py.

    python train.py --config=configs/own_images_smart.py \
        --workdir=runs/own_images_smart --config.data.path=FOLDER

Set data.image_size to the same value as for the encoder. For a generator of 64 px, use
configs/own_images_smart.py:64.

The run without :64 is not yet run. --compile_only=SLICE prints its memory; the time is
not known.
"""

from styleprompter_jax.configs import avatars_smart, own_images_encoder
from styleprompter_jax.configs.ffhq_smart import smart_after


def get_config(size: str = ""):
    encoder, start = (
        own_images_encoder.get_config(size),
        "runs/own_images_encoder/model",
    )
    if size:
        config = avatars_smart.get_config()
        config.total_steps = 700
        config.init_from, config.data = start, encoder.data
        return config
    encoder.total_steps = 100_000
    return smart_after(encoder, start)
