"""A run of seconds for each stage, for quick trials and for the tests.

    python train.py --config=configs/tiny.py:generator --workdir=runs/tiny/generator
    python train.py --config=configs/tiny.py:encoder --workdir=runs/tiny/encoder \
        --config.init_from=runs/tiny/generator/model
    python train.py --config=configs/tiny.py:smart --workdir=runs/tiny/smart \
        --config.init_from=runs/tiny/encoder/model

Other encoders, as "encoder": tiny.py:psp and tiny.py:e4e. Another refiner, as "smart":
tiny.py:conv.
"""

from styleprompter_jax.configs import (
    avatars_conv,
    avatars_e4e,
    avatars_encoder,
    avatars_generator,
    avatars_psp,
    avatars_smart,
)
from styleprompter_jax.core.errors import StylePrompterError


def get_config(stage: str = "generator"):
    stages = dict(
        generator=avatars_generator,
        encoder=avatars_encoder,
        smart=avatars_smart,
        conv=avatars_conv,
        psp=avatars_psp,
        e4e=avatars_e4e,
    )
    if stage not in stages:
        raise StylePrompterError(f"tiny.py:{stage}: choose one of {', '.join(stages)}.")
    config = stages[stage].get_config()
    config.batch_size = 8
    config.total_steps = 8
    config.log_every = 1
    config.eval_every = config.checkpoint_every = 4
    config.data.name = "avatars/tiny"
    config.data.image_size = 32
    if stage == "generator":
        config.model.generator.update(
            image_size=32, channels=(8, 8, 8, 8), z_dim=16, w_dim=16
        )
        # With groups of one, results do not depend on how devices share the batch.
        config.model.discriminator.update(channels=(8, 8, 8, 8), mbstd_group=1)
        config.loss.r1_every = 2
    elif stage == "encoder":
        config.model.encoder.update(
            embed_dim=8,
            depths=(2, 1),
            num_heads=(1, 2),
            window_size=4,
            head_dim=16,
        )
    elif stage == "smart":
        config.model.smart.update(refined_layers=(4,), num_heads=2, ffn_dim=16)
    elif stage == "conv":
        config.model.refiner.update(refined_layers=(4,), width=8)
    else:
        config.model.encoder.update(widths=(4, 8, 12, 16), blocks=(1, 1, 1, 1))
    if stage == "e4e":
        config.loss.update(delta_start=3, delta_every=1, pool_size=12, r1_every=4)
    if stage != "generator":
        config.init_from = ""
        config.optimizer.schedule = "constant"
        config.optimizer.warmup_steps = 0
    return config
