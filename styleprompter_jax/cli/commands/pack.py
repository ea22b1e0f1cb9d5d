"""`styleprompter pack`: packs a folder of images into one file for training."""

import argparse
import shlex
from pathlib import Path

from styleprompter_jax.cli.arguments import (
    IN_BUCKET,
    add_overwrite,
    add_skip_bad,
    left_out,
    options,
    path,
    side,
)
from styleprompter_jax.core.values import plural

HELD_OUT = 2  # smallest number of images for validation; stage "generator" needs them


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of the command."""
    parser.add_argument(
        "folder", type=path, help=f"folder of images, searched recursively, {IN_BUCKET}"
    )
    parser.add_argument(
        "dest",
        type=path,
        help="file to write: NAME.array_record; it may be in a bucket (gs://, s3://)",
    )
    parser.add_argument(
        "--size",
        type=side,
        required=True,
        help="length of the shorter side in pixels; smaller images keep their size",
    )
    parser.add_argument(
        "--crop",
        choices=["center", "none"],
        default="center",
        help="center (default) keeps the central square; none keeps the whole image, "
        "for random crops in training",
    )
    add_overwrite(parser, "an existing file")
    add_skip_bad(parser)


def run(args: argparse.Namespace) -> None:
    """Runs the command and prints its results."""
    from styleprompter_jax.app.pack import pack

    made = pack(**options(args))
    dest = made.files[0]
    print(
        f"{plural(made.count, 'image')} packed into {dest}{left_out(made)}. "
        f"{_training(dest, made.count)}"
    )


def _training(file: Path, count: int) -> str:
    """Returns a sentence about training on a file of `count` images."""
    if count <= HELD_OUT:
        return (
            f"For training, pack {HELD_OUT + 1} images or more: {HELD_OUT} of them are "
            "for validation."
        )
    held_out = "10%" if round(count / 10) >= HELD_OUT else str(HELD_OUT)
    keys = {
        "name": "array_record",
        "path": str(file.parent),
        "train_split": f"{file.stem}[{held_out}:]",
        "eval_split": f"{file.stem}[:{held_out}]",
    }
    given = (f"--config.data.{key}={shlex.quote(text)}" for key, text in keys.items())
    return f"Train on it with {' '.join(given)}"
