"""`styleprompter train` and train.py: trains a generator, an encoder or SMART."""

import argparse
import os
import re
import textwrap

from styleprompter_jax.cli.arguments import IN_BUCKET, not_negative, positive
from styleprompter_jax.core.buckets import checked_path
from styleprompter_jax.core.config_files import config_names
from styleprompter_jax.core.errors import StylePrompterError

_AFTER = """The same command again resumes the training. To set keys of the config:

  --config.batch_size=8 --config.data.name=folder --config.data.path=DIR

NAME is one of
{}"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of the command."""
    parser.usage = "%(prog)s --config NAME|FILE --workdir DIR [--config.KEY=VALUE ...]"
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    names = textwrap.fill(", ".join(config_names()), 76)
    parser.epilog = _AFTER.format(textwrap.indent(names, "  "))
    parser.add_argument(
        "--config",
        required=True,
        metavar="NAME|FILE",
        help="name or file of a config; NAME:RUN selects one of its runs, for example "
        "avatars_generator:sharpen; a file may be in a bucket (gs://, s3://)",
    )
    parser.add_argument(
        "--workdir",
        metavar="DIR",
        help=f"folder of the run, created if missing; {IN_BUCKET}",
    )
    parser.add_argument(
        "--coordinator",
        metavar="HOST:PORT",
        help='several hosts: address of process 0, or "auto"',
    )
    parser.add_argument(
        "--num_processes", type=positive, metavar="N", help="number of processes"
    )
    parser.add_argument(
        "--process_id",
        type=not_negative,
        metavar="K",
        help="number of this process, from 0",
    )
    parser.add_argument(
        "--compile_only",
        metavar="SLICE",
        help="only check whether the run fits a TPU slice, for example v5e:2x4",
    )


def wrong(args: argparse.Namespace) -> str:
    """Returns an error that argparse cannot detect, or "" for a correct call.

    ``args.overrides`` holds the arguments that argparse left: keys of the config.
    """
    after_key = False
    for argument in args.overrides:
        if re.match(r"--?(no)?config\.", argument):
            after_key = "=" not in argument
        elif after_key:  # the value of the key, after a space
            after_key = False
        else:
            return f"unrecognized arguments: {argument}"
    if not (args.workdir or args.compile_only):
        return "give --workdir or --compile_only"
    for name in ("num_processes", "process_id"):
        if getattr(args, name) is not None and not args.coordinator:
            return f"--{name} is for --coordinator"
    return ""


def run(args: argparse.Namespace) -> None:
    """Runs the command and prints its results."""
    from absl import logging

    from styleprompter_jax.training.config import get_config, override

    workdir = args.workdir and checked_path(args.workdir)
    config = override(get_config(args.config), args.overrides)
    if args.compile_only:
        # Only the compiler for the slice runs, and no local device.
        os.environ.setdefault("JAX_PLATFORMS", "cpu")
    # Imported only now, because a wrong call must not wait for JAX.
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
    except KeyboardInterrupt as error:  # a started run saves a checkpoint instead
        raise StylePrompterError("Interrupted before the first step.") from error
