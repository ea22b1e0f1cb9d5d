"""SMART for the encoder of configs/afhq_wild_encoder.py.

    python train.py --config=configs/afhq_wild_smart.py --workdir=runs/afhq_wild_smart \
        --config.data.path=AFHQ

Not yet run. --compile_only=SLICE prints the memory; the time is not known.
"""

from styleprompter_jax.configs import afhq_wild_encoder
from styleprompter_jax.configs.ffhq_smart import smart_after


def get_config():
    config = afhq_wild_encoder.get_config()
    return smart_after(config, "runs/afhq_wild_encoder/model")
