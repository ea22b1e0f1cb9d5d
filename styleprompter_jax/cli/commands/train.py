"""`styleprompter train` and train.py: train a generator, an encoder or SMART."""

import argparse
import os
import re
import textwrap

from styleprompter_jax.cli.arguments import not_negative, positive
from styleprompter_jax.core.config_files import config_names
from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.core.paths import local_path

_AFTER = """The same command again resumes. Any key of the config can be set:

  --config.batch_size=8 --config.data.name=folder --config.data.path=DIR

NAME is one of
{}"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what the command takes."""
    parser.usage = "%(prog)s --config NAME|FILE --workdir DIR [--config.KEY=VALUE ...]"
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    names = textwrap.fill(", ".join(config_names()), 76)
    parser.epilog = _AFTER.format(textwrap.indent(names, "  "))
    parser.add_argument(
        "--config",
        required=True,
        metavar="NAME|FILE",
        help="what to train: the name of a config, or a file of one; NAME:RUN chooses "
        "one of its runs, as in avatars_generator:sharpen",
    )
    parser.add_argument(
        "--workdir", metavar="DIR", help="folder of the run, made where missing"
    )
    parser.add_argument(
        "--coordinator",
        metavar="HOST:PORT",
        help='several hosts: where process 0 listens, or "auto"',
    )
    parser.add_argument(
        "--num_processes", type=positive, metavar="N", help="how many train together"
    )
    parser.add_argument(
        "--process_id",
        type=not_negative,
        metavar="K",
        help="which of them this is, from 0",
    )
    parser.add_argument(
        "--compile_only",
        metavar="SLICE",
        help="only say whether the run fits a TPU slice, such as v5e:2x4",
    )


def wrong(args: argparse.Namespace) -> str:
    """What argparse cannot tell of a call; "" if nothing is wrong.

    ``args.overrides`` is what argparse left: keys, which the config alone knows.
    """
    after_key = False
    for argument in args.overrides:
        if re.match(r"--?(no)?config\.", argument):
            after_key = "=" not in argument
        elif after_key:  # its value, after a blank
            after_key = False
        else:
            return f"unrecognized arguments: {argument}"
    if not (args.workdir or args.compile_only):
        return "--workdir or --compile_only must be given"
    return ""


def run(args: argparse.Namespace) -> None:
    """Does it, and prints what was made."""
    from absl import logging

    from styleprompter_jax.training.config import get_config, override

    workdir = args.workdir and local_path(args.workdir)
    config = override(get_config(args.config), args.overrides)
    if args.compile_only:
        # The slice's compiler is asked, and no device of this machine's.
        os.environ.setdefault("JAX_PLATFORMS", "cpu")
    # Only now: a wrong call must not wait for JAX.
    from styleprompter_jax.core.compilation_cache import use_compilation_cache
    from styleprompter_jax.training.compile_only import compile_only
    from styleprompter_jax.training.loop import train
    from styleprompter_jax.training.run.parallel import join_hosts

    logging.use_absl_handler()
    logging.set_verbosity(logging.WARNING)
    use_compilation_cache()
    if args.compile_only:
        print(compile_only(config, args.compile_only))
        return
    try:
        if args.coordinator:
            join_hosts(args.coordinator, args.num_processes, args.process_id)
        print(f"The model is in {train(config, workdir)}")
    except KeyboardInterrupt as error:  # before the run began; later, it saves
        raise StylePrompterError("Interrupted before the first step.") from error
