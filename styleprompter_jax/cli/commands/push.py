"""`styleprompter push`: uploads a model to the Hugging Face Hub, with a card."""

import argparse

from styleprompter_jax.cli.arguments import name_or_path, options, path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of the command."""
    parser.add_argument(
        "model",
        type=name_or_path,
        metavar="MODEL",
        help="model to upload, as for --model",
    )
    parser.add_argument(
        "target",
        metavar="hf://USER/NAME[/FOLDER]",
        help="place on the Hub; the command makes a missing repository",
    )
    parser.add_argument(
        "--private",
        action="store_true",
        help="make the repository private; refuse a public one",
    )
    parser.add_argument(
        "--metrics",
        type=path,
        metavar="FILE",
        help="metrics.json of `evaluate`; the card shows its figures (default: the "
        "metrics.json in the model folder, if there is one)",
    )


def run(args: argparse.Namespace) -> None:
    """Runs the command and prints its results."""
    from styleprompter_jax.app.push import push

    pushed = push(**options(args))
    print(f"{pushed.name} holds the model: {pushed.page}")
