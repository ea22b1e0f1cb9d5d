"""SMART for photographs of blood cells, on top of configs/cells64_encoder.py.

python train.py --config=configs/cells64_smart.py --workdir=runs/cells64_smart
"""

from styleprompter_jax.configs import avatars_smart, cells64_generator


def get_config():
    config = avatars_smart.get_config()
    config.total_steps = 700
    config.init_from = "runs/cells64_encoder/model"
    config.data = cells64_generator.get_config().data
    return config
