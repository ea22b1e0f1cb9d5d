"""`styleprompter unalign`: pastes edited crops back into the photographs."""

import argparse

from styleprompter_jax.cli.arguments import (
    add_format,
    add_input,
    add_output,
    add_skip_bad,
    left_out,
    options,
    path,
)
from styleprompter_jax.core.values import plural


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of the command."""
    add_input(parser, required=True)
    parser.add_argument(
        "--crops",
        type=path,
        required=True,
        metavar="DIR",
        help="output folder of `align`",
    )
    add_output(parser)
    parser.add_argument(
        "--no-detail",
        dest="detail",
        action="store_false",
        help="paste the crops themselves (default: add the changes of the edit); for "
        "edits that move shapes in a photograph that is much finer than the crop",
    )
    add_format(parser)
    add_skip_bad(parser)


def run(args: argparse.Namespace) -> None:
    """Runs the command and prints its results."""
    from styleprompter_jax.app.unalign import unalign

    made = unalign(**options(args))
    print(f"{plural(len(made.files), 'photograph')} in {args.output}{left_out(made)}.")
