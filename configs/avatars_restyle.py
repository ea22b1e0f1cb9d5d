"""ReStyle for the bundled avatars, 64 px, against the bundled generator.

    python train.py --config=configs/avatars_restyle.py --workdir=runs/restyle

The encoder is as large as that of configs/avatars_psp.py. It encodes an image in five
passes, and reads the image and its current inversion. avatars_restyle.py:e4e adds the
deltas and the discriminator of configs/avatars_e4e.py; it has not been run.
"""

from styleprompter_jax.configs import avatars_e4e, avatars_psp
from styleprompter_jax.core.errors import StylePrompterError


def get_config(base: str = "psp"):
    bases = {
        "psp": (avatars_psp, "BackboneEncoder"),
        "e4e": (avatars_e4e, "ProgressiveBackboneEncoder"),
    }
    if base not in bases:
        raise StylePrompterError(f"avatars_restyle.py:{base}: choose psp or e4e.")
    run, encoder = bases[base]
    config = run.get_config()
    config.model.encoder.encoder_type = encoder
    config.model.encoder.update(input_channels=6, passes=5)
    return config
