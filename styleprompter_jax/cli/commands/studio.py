"""`styleprompter studio`: a page for editing, and its HTTP interface."""

import argparse

from styleprompter_jax.cli.arguments import add_dtype, add_model, whole
from styleprompter_jax.core.errors import StylePrompterError


def port(text: str) -> int:
    """Parses a port; 0 means any free port."""
    return whole(text, 0, 65_535)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of the command."""
    add_model(parser)
    parser.add_argument(
        "--port",
        type=port,
        default=7860,
        metavar="N",
        help="port to listen on; 0 for any free port (default: 7860)",
    )
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        metavar="H",
        help="address to listen on (default: 127.0.0.1, for this machine only); on any "
        "other, users need the token that the command prints",
    )
    parser.add_argument(
        "--name",
        dest="names",
        nargs="+",
        default=[],
        metavar="NAME",
        help="other names of the server, such as the name of a proxy; with one, users "
        "need the token, also on 127.0.0.1",
    )
    add_dtype(parser)


def run(args: argparse.Namespace) -> None:
    """Serves the page until a signal ends it."""
    try:
        from styleprompter_jax.web.security import Names
        from styleprompter_jax.web.server import serve
    except ModuleNotFoundError as error:
        if error.name not in ("starlette", "uvicorn"):
            raise
        raise StylePrompterError(
            f"The studio needs {error.name}: pip install 'styleprompter_jax[studio]'."
        ) from error
    from styleprompter_jax.inversion.pipeline import load

    Names(args.host, args.names)  # refuses a wrong name before the model is loaded
    model = load(args.model, dtype=args.dtype)
    serve(model, host=args.host, port=args.port, names=args.names)
