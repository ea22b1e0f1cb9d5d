"""The command line: which commands there are, and how a call runs.

A command is `commands/NAME.py`: what it takes, and what it says of the result. What it
does is in `app/`, imported when it runs: `--help` must not wait for JAX.
"""

import argparse
import importlib
import sys
import warnings
from collections.abc import Container
from types import ModuleType

from styleprompter_jax.cli.surroundings import open_closed_streams, orderly
from styleprompter_jax.core.compilation_cache import use_compilation_cache
from styleprompter_jax.large_pages import use_large_pages
from styleprompter_jax.version import __version__

# In the order of `styleprompter --help`.
_SUMMARIES = {
    "convert": "Makes a model folder of published weights, and back.",
    "invert": "Inverts images: pictures, their latents, and a sheet.",
    "edit": "Moves images along directions, one picture for each strength.",
    "mix": "Puts codes of one image among those of another.",
    "evaluate": "Measures inversions, codes and edits of a model.",
    "directions": "Finds directions, and keeps them with a model.",
    "train": "Trains a generator, an encoder or SMART, as a config says.",
    "push": "Uploads a model to the Hugging Face Hub, with a card.",
    "pack": "Packs a folder of pictures into one file to train on.",
    "align": "Cuts faces out of photographs as FFHQ does.",
    "unalign": "Puts edited crops back into the photographs of `align`.",
}


def main(argv: list[str] | None = None) -> int:
    """Runs one command.

    Returns:
        0; or 1 after a StylePrompterError, printed on stderr. A wrong call raises
        SystemExit with 2, as argparse does.
    """
    open_closed_streams()
    shown = "--traceback" in (sys.argv if argv is None else argv)
    return orderly(lambda: _run(argv), show_traceback=shown)


def _run(argv: list[str] | None) -> None:
    args = parse(argv)
    # What Pillow puts up with in a picture, it warns of in terms of its own.
    warnings.filterwarnings("ignore", module="PIL")
    if argv is None:  # a program, and no function of another one
        use_large_pages()
    if args.command != "train":  # which looks at its config first
        use_compilation_cache()
    _module(args.command).run(args)


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """The arguments of a call; SystemExit with 2 for a wrong one."""
    argv = sys.argv[1:] if argv is None else argv
    parser = make_parser(argv)
    args, rest = parser.parse_known_args(argv)
    if args.command == "train":
        # What remains is for the config, which alone knows its keys.
        args.overrides, rest = rest, []
    wrong = getattr(_module(args.command), "wrong", None)
    if rest:
        args.parser.error(f"unrecognized arguments: {' '.join(rest)}")
    if wrong and (message := wrong(args)):
        args.parser.error(message)
    return args


def make_parser(asked: Container[str] = _SUMMARIES) -> argparse.ArgumentParser:
    """The parser of all commands, with the arguments of those that are asked for."""
    parser = argparse.ArgumentParser(
        prog="styleprompter",
        description="Inverts images into StyleGAN2, and edits them.",
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, summary in _SUMMARIES.items():
        command = commands.add_parser(name, help=summary, description=summary)
        if name in asked:
            _module(name).add_arguments(command)
        command.add_argument(
            "--traceback", action="store_true", help="show where an error arose"
        )
        command.set_defaults(parser=command)
    return parser


def _module(command: str) -> ModuleType:
    return importlib.import_module(f"styleprompter_jax.cli.commands.{command}")
