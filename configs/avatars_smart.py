"""SMART for the bundled avatars, 64 px, and the encoder of configs/avatars_encoder.py.

    python train.py --config=configs/avatars_smart.py --workdir=runs/smart \
        --config.init_from=runs/encoder/model
"""

from ml_collections import ConfigDict

from styleprompter_jax.configs import avatars_encoder


def get_config():
    config = avatars_encoder.get_config()
    config.stage = "smart"
    config.total_steps = 1_200
    config.learning_rate = 1e-3
    config.init_from = "runs/encoder/model"
    # Layers 4 and 6 are the maps at 16 and 32 px.
    config.model = ConfigDict(
        dict(
            smart=dict(
                refined_layers=(4, 6),
                num_heads=4,
                ffn_dim=256,
                dropout=0.0,
                attention="linear",
            )
        )
    )
    config.loss.align = 0.0
    return config
