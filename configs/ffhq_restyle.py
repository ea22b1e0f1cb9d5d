"""ReStyle as published, for faces: five passes over an image of 256 px.

    python train.py --config=configs/ffhq_restyle.py --workdir=runs/ffhq_restyle \
        --config.data.path=FOLDER

Convert the files that configs/ffhq_psp.py names first. ffhq_restyle.py:e4e adds the
deltas and the discriminator of configs/ffhq_e4e.py.

Not yet run. --compile_only=SLICE prints the memory that it needs.
"""

from styleprompter_jax.configs import ffhq_e4e, ffhq_psp
from styleprompter_jax.core.errors import StylePrompterError


def get_config(base: str = "psp"):
    bases = {
        "psp": (ffhq_psp, "BackboneEncoder"),
        "e4e": (ffhq_e4e, "ProgressiveBackboneEncoder"),
    }
    if base not in bases:
        raise StylePrompterError(f"ffhq_restyle.py:{base}: choose psp or e4e.")
    run, encoder = bases[base]
    config = run.get_config()
    config.total_steps = 500_000
    config.model.encoder.encoder_type = encoder
    config.model.encoder.update(input_channels=6, passes=5)
    return config
