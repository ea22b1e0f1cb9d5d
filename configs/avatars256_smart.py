"""SMART for the avatars at 256 px and the encoder of configs/avatars256_encoder.py.

    python train.py --config=configs/avatars256_smart.py --workdir=runs/smart256 \
        --config.init_from=runs/encoder256/model --config.data.workers=12

Not yet run.
"""

from styleprompter_jax.configs import avatars256_encoder, avatars_smart


def get_config():
    config = avatars_smart.get_config()
    config.batch_size = 64
    config.total_steps = 2_000
    config.eval_every = 1_000
    config.checkpoint_every = 1_000
    config.init_from = "runs/encoder256/model"
    config.dtype = "bfloat16"
    # Layers 4, 6 and 8 are the maps at 16, 32 and 64 px.
    config.model.smart.refined_layers = (4, 6, 8)
    encoder = avatars256_encoder.get_config()
    config.data, config.optimizer = encoder.data, encoder.optimizer
    return config
