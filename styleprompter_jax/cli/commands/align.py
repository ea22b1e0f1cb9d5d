"""`styleprompter align`: FFHQ's crop of faces in photographs, from landmarks."""

import argparse

from styleprompter_jax.cli.arguments import (
    add_input,
    add_output,
    add_skip_bad,
    left_out,
    options,
    path,
    side,
)
from styleprompter_jax.core.values import plural


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what the command takes."""
    add_input(parser, required=True)
    parser.add_argument(
        "--landmarks",
        type=path,
        metavar="FILE",
        help='JSON: {"face.jpg": [[x, y], ...]} with 68 points (dlib), or 5: eyes, '
        "nose, corners of the mouth, the left of the picture first; for one picture "
        "its list alone (default: the largest face that is found, with the extra "
        "`detector`)",
    )
    add_output(parser)
    parser.add_argument(
        "--size",
        type=side,
        default=1024,
        metavar="S",
        help="side of the crops (default: 1024)",
    )
    add_skip_bad(parser)


def run(args: argparse.Namespace) -> None:
    """Does it, and prints what was made."""
    from styleprompter_jax.app.align import align

    made = align(**options(args))
    print(f"{plural(len(made.files), 'crop')} in {args.output}{left_out(made)}.")
