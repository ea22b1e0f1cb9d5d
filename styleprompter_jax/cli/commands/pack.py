"""`styleprompter pack`: a folder of pictures as one file that is quick to read."""

import argparse

from styleprompter_jax.cli.arguments import (
    add_overwrite,
    add_skip_bad,
    left_out,
    options,
    path,
    side,
)
from styleprompter_jax.core.values import plural


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what the command takes."""
    parser.add_argument("folder", type=path, help="pictures, searched recursively")
    parser.add_argument("dest", type=path, help="the file to write: NAME.array_record")
    parser.add_argument(
        "--size", type=side, required=True, help="pixels of the shorter side"
    )
    parser.add_argument(
        "--crop",
        choices=["center", "none"],
        default="center",
        help="keep the central square (default), or all, for random crops in training",
    )
    add_overwrite(parser, "the file that is there")
    add_skip_bad(parser)


def run(args: argparse.Namespace) -> None:
    """Does it, and prints what was made."""
    from styleprompter_jax.app.pack import pack

    made = pack(**options(args))
    dest = made.files[0]
    print(
        f"{plural(made.count, 'picture')} packed into {dest}{left_out(made)}. "
        "Train on it with --config.data.name=array_record "
        f"--config.data.path={dest.parent} --config.data.train_split={dest.stem}"
    )
