"""The convolutional refiner for the bundled avatars, to compare SMART with.

    python train.py --config=configs/avatars_conv.py --workdir=runs/conv

It has the layers, losses and steps of configs/avatars_smart.py, and 1 % more parameters
(266,400 against 264,384). docs/claims.md compares the two.
"""

from ml_collections import ConfigDict

from styleprompter_jax.configs import avatars_smart


def get_config():
    config = avatars_smart.get_config()
    config.stage = "refiner"
    config.init_from = "avatars64"
    layers = config.model.smart.refined_layers
    config.model = ConfigDict(
        dict(refiner=dict(type="conv", refined_layers=layers, width=51))
    )
    return config
