"""The command line: lists the commands, and runs a call.

A command is `commands/NAME.py`: it declares the arguments, and prints the result. The
work itself is in `app/`. A command imports `app/` only when it runs, because `--help`
must not wait for JAX.
"""

import argparse
import importlib
import sys
import warnings
from collections.abc import Container
from types import ModuleType

from styleprompter_jax.cli.surroundings import (
    INTERRUPTED,
    leave_threads,
    open_closed_streams,
    orderly,
)
from styleprompter_jax.core.compilation_cache import use_compilation_cache
from styleprompter_jax.large_pages import use_large_pages
from styleprompter_jax.version import __version__

# In the order of `styleprompter --help`.
_SUMMARIES = {
    "convert": "Converts published weights to a model folder, and back.",
    "invert": "Inverts images: writes inversions, latents and a sheet.",
    "edit": "Edits images along directions, one result for each strength.",
    "mix": "Mixes the codes of two images (style mixing).",
    "evaluate": "Measures the inversions, codes and edits of a model.",
    "compare": "Compares several models or procedures on the same images.",
    "directions": "Finds directions and adds them to a model.",
    "train": "Trains a generator, an encoder or SMART, as a config specifies.",
    "push": "Uploads a model to the Hugging Face Hub, with a model card.",
    "export": "Writes a model for ONNX Runtime, for JAX alone, or as a web page.",
    "pack": "Packs a folder of images into one file for training.",
    "align": "Crops faces from photographs as FFHQ does.",
    "unalign": "Pastes edited crops back into the photographs.",
    "studio": "Serves a page for editing, and its HTTP interface.",
}


def main(argv: list[str] | None = None) -> int:
    """Runs one command.

    Returns:
        0; or 1 after a StylePrompterError, which is printed on stderr. A wrong call
        raises SystemExit with 2, as argparse does.
    """
    open_closed_streams()
    shown = "--traceback" in (sys.argv if argv is None else argv)
    code = orderly(lambda: _run(argv), show_traceback=shown)
    if argv is None and code == INTERRUPTED:  # called as a program, not as a function
        leave_threads(code)
    return code


def _run(argv: list[str] | None) -> None:
    args = parse(argv)
    # Pillow warns of faults in an image that it tolerates, in its own technical terms.
    warnings.filterwarnings("ignore", module="PIL")
    if argv is None:  # called as a program, not as a function
        use_large_pages()
    if args.command != "train":  # train reads its config first
        use_compilation_cache()
    _module(args.command).run(args)


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """Parses a call; raises SystemExit with 2 for a wrong one."""
    argv = sys.argv[1:] if argv is None else argv
    parser = make_parser(argv)
    args, rest = parser.parse_known_args(argv)
    if args.command == "train":
        # The other arguments set keys of the config. Only the config can check them.
        args.overrides, rest = rest, []
    wrong = getattr(_module(args.command), "wrong", None)
    if rest:
        args.parser.error(f"unrecognized arguments: {' '.join(rest)}")
    if wrong and (message := wrong(args)):
        args.parser.error(message)
    return args


def make_parser(asked: Container[str] = _SUMMARIES) -> argparse.ArgumentParser:
    """Makes the parser of all commands, with the arguments of the commands `asked`."""
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
            "--traceback", action="store_true", help="show the traceback of an error"
        )
        command.set_defaults(parser=command)
    return parser


def _module(command: str) -> ModuleType:
    return importlib.import_module(f"styleprompter_jax.cli.commands.{command}")
