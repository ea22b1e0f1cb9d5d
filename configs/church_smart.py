"""SMART for the encoder of configs/church_encoder.py.

    python train.py --config=configs/church_smart.py --workdir=runs/church_smart \
        --config.data.path=FOLDER

Not yet run. --compile_only=SLICE prints the memory; the time is not known.
"""

from styleprompter_jax.configs import church_encoder
from styleprompter_jax.configs.ffhq_smart import smart_after


def get_config():
    return smart_after(church_encoder.get_config(), "runs/church_encoder/model")
