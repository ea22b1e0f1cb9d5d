"""Trains a generator, an encoder or SMART, as a config says.

    python train.py --config=configs/avatars_encoder.py --workdir=runs/encoder

The same command again resumes.  Any key of the config can be set on the command
line: --config.batch_size=8.
"""

import sys

from absl import app, flags, logging
from ml_collections import config_flags

FLAGS = flags.FLAGS
config_flags.DEFINE_config_file("config", None, "A file of configs/.", lock_config=True)
flags.DEFINE_string("workdir", None, "Folder of the run.")
flags.mark_flags_as_required(["config", "workdir"])


def main(argv):
    if len(argv) > 1:
        raise app.UsageError(f"Unexpected arguments: {' '.join(argv[1:])}")
    from styleprompter_jax.errors import StylePrompterError
    from styleprompter_jax.training.loop import train

    logging.set_verbosity(logging.WARNING)
    try:
        print(f"The model is in {train(FLAGS.config, FLAGS.workdir)}")
    except StylePrompterError as error:
        print(f"Error: {error}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    app.run(main)
