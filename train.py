"""Trains a generator, an encoder or SMART, as a config says.

    python train.py --config=configs/avatars_encoder.py --workdir=runs/encoder

The same command again resumes.  Any key of the config can be set on the command
line: --config.batch_size=8.  Will a run fit a TPU slice that is not here?

    python train.py --config=configs/ffhq_encoder.py --compile_only=v5e:2x4 \
        --config.batch_size=64 --config.dtype=bfloat16

This is `styleprompter train`, which an installed package has too.
"""

import sys

from styleprompter_jax.cli import main
from styleprompter_jax.large_pages import use_large_pages

if __name__ == "__main__":
    use_large_pages()
    sys.exit(main(["train", *sys.argv[1:]]))
