"""The SwinV2 encoder for photographs of blood cells, 64 px.

    python train.py --config=configs/cells64_encoder.py \
        --workdir=runs/cells64_encoder

It needs the run of configs/cells64_generator.py, which has read the dataset. The trunk
of the encoder starts from the bundled model of cartoon faces, and so needs fewer steps.
"""

from styleprompter_jax.configs import avatars_encoder, cells64_generator


def get_config():
    config = avatars_encoder.get_config()
    config.total_steps = 2_400
    config.init_from = "runs/cells64_generator/model_best"
    config.init_trunk = "avatars64"
    config.data = cells64_generator.get_config().data
    return config
