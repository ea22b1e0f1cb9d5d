"""What `styleprompter train` and train.py take on the command line."""

import argparse
import re
import textwrap

from styleprompter_jax.cli.arguments import not_negative, positive
from styleprompter_jax.core.config_files import config_names

_AFTER = """The same command again resumes. Any key of the config can be set:

  --config.batch_size=8 --config.data.name=folder --config.data.path=DIR

NAME is one of
{}"""


def add_training(parser: argparse.ArgumentParser) -> None:
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


def wrong_training(args: argparse.Namespace) -> str:
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
