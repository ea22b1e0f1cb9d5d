"""`styleprompter edit`: images moved along directions, as pictures or animations."""

import argparse

from styleprompter_jax.cli.arguments import (
    add_decoding,
    add_format,
    add_input,
    add_layers,
    add_model,
    add_optimize,
    add_output,
    frames,
    left_out,
    name_or_path,
    number,
    options,
    path,
)
from styleprompter_jax.core.values import plural


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what the command takes."""
    add_model(parser)
    source = parser.add_mutually_exclusive_group(required=True)
    add_input(source)
    source.add_argument(
        "--latents",
        type=path,
        metavar="FILE",
        help="latents that `invert` wrote, for --input",
    )
    add_output(parser)
    parser.add_argument(
        "--direction",
        dest="directions",
        type=name_or_path,
        nargs="+",
        required=True,
        metavar="D",
        help="a name known to the model; or an .npy, .npz or .pt of [w_dim], "
        "[n, w_dim] or [1, n * w_dim]",
    )
    parser.add_argument(
        "--strength",
        dest="strengths",
        nargs="+",
        type=number,
        metavar="S",
        help="how far along (default: the direction's own, there and back; for a "
        "sweep, its range)",
    )
    add_layers(parser, "to change (default: the direction's)")
    parser.add_argument(
        "--together",
        action="store_true",
        help="go along all directions at once; smile:1 age:-0.5 gives them weights",
    )
    parser.add_argument(
        "--animate",
        choices=["gif", "mp4", "frames"],
        help="in place of pictures, a sweep from the lowest to the highest strength "
        "and back; or a folder of its frames",
    )
    parser.add_argument(
        "--frames",
        type=frames,
        default=24,
        metavar="N",
        help="pictures from one end of a sweep to the other (default: 24)",
    )
    add_optimize(parser)
    add_decoding(parser, beta="each direction's own")
    add_format(parser)


def run(args: argparse.Namespace) -> None:
    """Does it, and prints what was made."""
    from styleprompter_jax.app.edit import edit

    made = edit(**options(args))
    done = plural(made.edits, "animation" if args.animate else "edit")
    whose = plural(made.pictures, "picture")
    print(f"{done} of {whose} in {args.output}{left_out(made)}.")
