"""The SwinV2 encoder for the bundled avatars, 64 px, with the bundled generator.

python train.py --config=configs/avatars_encoder.py --workdir=runs/encoder
"""

from ml_collections import ConfigDict

from styleprompter_jax.configs import avatars_generator


def get_config():
    config = ConfigDict()
    config.stage = "encoder"
    config.seed = 0
    config.batch_size = 16
    config.total_steps = 4_000
    config.learning_rate = 1e-3
    config.log_every = 20
    config.eval_every = 500
    config.checkpoint_every = 250
    config.dtype = "float32"
    config.on_nan = "stop"
    config.init_from = "avatars64"
    config.init_encoder = False

    config.model = ConfigDict(
        dict(
            encoder=dict(
                patch_size=2,
                embed_dim=32,
                depths=(1, 2, 4),
                num_heads=(2, 4, 8),
                window_size=8,
                head_dim=512,
                drop_path=0.0,
            )
        )
    )
    config.data = avatars_generator.get_config().data
    # No perceptual network was trained on cartoons: SSIM replaces LPIPS and ID.
    config.loss = ConfigDict(dict(l2=1.0, hardest=0.2, structure=0.3, align=0.01))
    config.optimizer = ConfigDict(
        dict(
            name="adam",
            beta1=0.9,
            beta2=0.99,
            eps=1e-8,
            weight_decay=0.0,
            clip_norm=1.0,
            schedule="cosine",
            warmup_steps=100,
        )
    )
    return config
