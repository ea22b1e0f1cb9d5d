"""e4e as published: faces of 256 px to codes that can be edited.

    python train.py --config=configs/ffhq_e4e.py --workdir=runs/ffhq_e4e \
        --config.data.path=FOLDER

Convert the files that configs/ffhq_psp.py names first.

Not yet run. --compile_only=SLICE prints the memory that it needs.
"""

from styleprompter_jax.configs import ffhq_psp


def get_config():
    config = ffhq_psp.get_config()
    config.total_steps = 200_000
    config.model.encoder.encoder_type = "Encoder4Editing"
    config.loss.update(
        delta=2e-4,
        delta_start=20_000,
        delta_every=2_000,
        discriminator=0.1,
        pool_size=50,
        r1_gamma=10.0,
        r1_every=16,
    )
    config.optimizer.discriminator_rate = 2e-5
    return config
