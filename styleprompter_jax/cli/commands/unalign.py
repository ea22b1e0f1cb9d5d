"""`styleprompter unalign`: edited crops back into the photographs of `align`."""

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
    """Adds what the command takes."""
    add_input(parser, required=True)
    parser.add_argument(
        "--crops",
        type=path,
        required=True,
        metavar="DIR",
        help="the folder that `align` wrote",
    )
    add_output(parser)
    parser.add_argument(
        "--no-detail",
        dest="detail",
        action="store_false",
        help="put the crops themselves, in place of adding what the edit changed; for "
        "edits that move shapes in a photograph much finer than the crop",
    )
    add_format(parser)
    add_skip_bad(parser)


def run(args: argparse.Namespace) -> None:
    """Does it, and prints what was made."""
    from styleprompter_jax.app.unalign import unalign

    made = unalign(**options(args))
    print(f"{plural(len(made.files), 'photograph')} in {args.output}{left_out(made)}.")
