"""The SwinV2 encoder for the avatars at 256 px, with the generator of 256 px.

    python train.py --config=configs/avatars256_encoder.py --workdir=runs/encoder256 \
        --config.init_from=runs/generator256/model --config.data.workers=12

Not yet run.
"""

from styleprompter_jax.configs import avatars256_generator, avatars_encoder


def get_config():
    config = avatars_encoder.get_config()
    config.batch_size = 64
    config.total_steps = 6_000
    config.eval_every = 2_000
    config.checkpoint_every = 2_000
    config.init_from = "runs/generator256/model"
    config.dtype = "bfloat16"
    config.model.encoder.update(
        patch_size=4,
        embed_dim=48,
        depths=(1, 1, 3, 1),
        num_heads=(3, 6, 6, 12),
    )
    # The run may end at any step: an average over the last images replaces a decay.
    config.optimizer.update(schedule="constant", ema_images=2e4)
    config.data = avatars256_generator.get_config().data
    return config
