"""pSp for the bundled avatars, 64 px, against the bundled generator.

    python train.py --config=configs/avatars_psp.py --workdir=runs/psp

The encoder is smaller than the published one: it has a quarter of its channels, and
seven blocks. avatars_psp.py:super_resolution (by 4 and 8) and avatars_psp.py:inpainting
train two other tasks.
"""

from ml_collections import ConfigDict

from styleprompter_jax.configs import avatars_encoder, avatars_generator
from styleprompter_jax.core.errors import StylePrompterError

FACTORS = (1, 2, 4, 8, 16, 32)  # of "downsample"
INPUTS: dict[str, dict] = {
    "inversion": {},
    "super_resolution": {"input": "downsample", "factors": (4, 8)},
    "inpainting": {"input": "mask"},
}


def get_config(task: str = "inversion"):
    if task not in INPUTS:
        raise StylePrompterError(
            f"avatars_psp.py:{task}: choose one of {', '.join(INPUTS)}."
        )
    config = avatars_encoder.get_config()
    config.data.update(dict(input="", input_path="", factors=FACTORS) | INPUTS[task])
    config.init_trunk = ""
    config.model = ConfigDict(
        dict(
            encoder=dict(
                type="psp",
                encoder_type="GradualStyleEncoder",
                input_channels=3,
                widths=(16, 32, 64, 128),
                blocks=(1, 2, 3, 1),
            ),
            # init_from replaces it; --compile_only uses it.
            generator=avatars_generator.get_config().model.generator,
        )
    )
    config.optimizer.update(name="ranger", beta1=0.95, beta2=0.999, eps=1e-5)
    config.optimizer.update(clip_norm=0.0, warmup_steps=0)
    return config
