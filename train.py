"""Trains a generator, an encoder or SMART, as a config says.

    python train.py --config=configs/avatars_encoder.py --workdir=runs/encoder

The same command again resumes.  Any key of the config can be set on the command
line: --config.batch_size=8.  Will a run fit a TPU slice that is not here?

    python train.py --config=configs/ffhq_encoder.py --compile_only=v5e:2x4 \
        --config.batch_size=64 --config.dtype=bfloat16
"""

import os
import re
import sys

from absl import app, flags, logging
from ml_collections import config_flags

from styleprompter_jax.errors import StylePrompterError
from styleprompter_jax.large_pages import use_large_pages

FLAGS = flags.FLAGS
config_flags.DEFINE_config_file("config", None, "A file of configs/.", lock_config=True)
flags.DEFINE_string("workdir", None, "Folder of the run.")
flags.DEFINE_string(
    "coordinator", None, 'Several hosts: HOST:PORT of process 0, or "auto".'
)
flags.DEFINE_integer("num_processes", None, "How many processes train together.")
flags.DEFINE_integer("process_id", None, "Which of them this is, from 0.")
flags.DEFINE_string(
    "compile_only", None, "Only says whether the run fits a TPU slice, as v5e:2x4."
)
flags.mark_flag_as_required("config")


@flags.multi_flags_validator(
    ["workdir", "compile_only"], "--workdir or --compile_only must be given."
)
def _has_purpose(values):
    return any(values.values())


def parse_flags(argv):
    """Absl's parsing, with one sentence for what it answers with a traceback."""
    try:
        rest = FLAGS(argv)
        _ = FLAGS.config.stage  # a config file that is not there shows only now
        return rest
    except (flags.Error, StylePrompterError) as error:
        fail(error)
    except AttributeError as error:
        # What ml_collections says is 'KEY', and maybe 'Did you mean "..."'.
        key = re.search(r"\w+", str(error))[0]
        near = re.search(r'Did you mean "(\w+)"', str(error))
        given = [a for a in argv if a.split("=")[0].split(".")[-1] == key]
        hint = f"did you mean {near[1]}?" if near else "see the keys in its file."
        fail(
            f"{given[0] if given else key} sets a key that the config does not have: "
            f"{hint}"
        )
    except OSError:
        given = [a for a in argv if a.startswith("--config")]
        fail(f"{' '.join(given)} names no config file: see configs/.")


def fail(error):
    print(f"Error: {error}", file=sys.stderr)
    sys.exit(1)


def main(argv):
    if len(argv) > 1:
        fail(f"Unexpected arguments: {' '.join(argv[1:])}")
    if FLAGS.compile_only:
        # The slice's compiler is asked, and no device of this machine's.
        os.environ.setdefault("JAX_PLATFORMS", "cpu")
    # Only now: a wrong call must not wait for JAX.
    from styleprompter_jax.compilation_cache import use_compilation_cache
    from styleprompter_jax.training.compile_only import compile_only
    from styleprompter_jax.training.loop import train
    from styleprompter_jax.training.parallel import join_hosts

    logging.set_verbosity(logging.WARNING)
    use_compilation_cache()
    try:
        if FLAGS.compile_only:
            print(compile_only(FLAGS.config, FLAGS.compile_only))
            return
        if FLAGS.coordinator:
            join_hosts(FLAGS.coordinator, FLAGS.num_processes, FLAGS.process_id)
        print(f"The model is in {train(FLAGS.config, FLAGS.workdir)}")
    except StylePrompterError as error:
        fail(error)
    except KeyboardInterrupt:  # before the run began; later, it saves and leaves
        fail("Interrupted before the first step.")


if __name__ == "__main__":
    use_large_pages()
    app.run(main, flags_parser=parse_flags)
