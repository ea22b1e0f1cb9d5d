"""`styleprompter push`: a model to the Hugging Face Hub, with a card."""

import argparse

from styleprompter_jax.cli.arguments import options


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what the command takes."""
    parser.add_argument("model", metavar="MODEL", help="as --model takes it elsewhere")
    parser.add_argument(
        "target",
        metavar="hf://USER/NAME[/FOLDER]",
        help="where to; the repository is made if it is not there",
    )
    parser.add_argument(
        "--private",
        action="store_true",
        help="nobody else may see the repository; refuses one that is public",
    )
    parser.add_argument(
        "--metrics",
        metavar="FILE",
        help="metrics.json of `evaluate`, whose figures the card shows (default: the "
        "one in the model folder, if there is one)",
    )


def run(args: argparse.Namespace) -> None:
    """Does it, and prints what was made."""
    from styleprompter_jax.app.push import push

    pushed = push(**options(args))
    print(f"{pushed.name} holds the model: {pushed.page}")
