"""e4e for the bundled avatars, 64 px, against the bundled generator.

    python train.py --config=configs/avatars_e4e.py --workdir=runs/e4e

The encoder is as large as that of configs/avatars_psp.py. Its codes stay near one w.
The deltas start one after another, and a discriminator keeps the codes close to the
codes of the mapping network.
"""

from styleprompter_jax.configs import avatars_psp


def get_config():
    config = avatars_psp.get_config()
    config.model.encoder.encoder_type = "Encoder4Editing"
    config.loss.update(
        align=0.0,
        delta=2e-4,
        delta_start=1_000,
        delta_every=100,
        discriminator=0.1,
        pool_size=50,
        r1_gamma=10.0,
        r1_every=16,
    )
    # Five times the published rate, for a run that is so much shorter.
    config.optimizer.discriminator_rate = 1e-4
    return config
