"""`styleprompter convert`: published weights to a model folder, and back."""

import argparse

from styleprompter_jax.cli.arguments import add_overwrite, name_or_path, path, sha256
from styleprompter_jax.core.paths import is_link


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what the command takes."""
    parser.add_argument(
        "paths",
        type=name_or_path,
        nargs="+",
        metavar="PATH",
        help="files of weights, then the folder to write; or files of directions, then "
        "the model folder to keep them with; or, with --export, the model folder. A "
        "file may also be an https link, of Google Drive too: up to 8 GiB, kept in the "
        "cache, gone on with after a break",
    )
    parser.add_argument(
        "--sha256",
        action="append",
        type=sha256,
        metavar="SUM",
        help="what the file behind a link must have; one for each link, in their order",
    )
    parser.add_argument(
        "--export",
        type=path,
        metavar="FILE",
        help="write the model as the published PyTorch code reads it",
    )
    add_overwrite(parser, "the model or file that is there")


def wrong(args: argparse.Namespace) -> str:
    """What argparse cannot tell of this command's paths; "" if nothing is wrong."""
    if args.export and len(args.paths) != 1:
        return "convert --export FILE takes one model folder"
    if not args.export and len(args.paths) < 2:
        return "convert takes one file or more, and then the folder to write"
    if is_link(args.export or args.paths[-1]):
        return "convert writes to this machine: the folder to write is no link"
    links = sum(map(is_link, args.paths))
    if args.sha256 and len(args.sha256) != links:
        return f"--sha256 is given {len(args.sha256)} times for {links} links"
    return ""


def run(args: argparse.Namespace) -> None:
    """Does it, and prints what was made."""
    from styleprompter_jax.app.convert import convert, export

    if args.export:
        exported = export(args.paths[0], args.export, overwrite=args.overwrite)
        print(f"{exported.file}: {exported.what}.")
        if exported.left_out:
            print("The directions are left out: the layout has no place for them.")
        return
    *files, folder = args.paths
    made = convert(files, folder, sha256=args.sha256 or (), overwrite=args.overwrite)
    if made.kind == "directions":
        print(f"{made.folder} knows {', '.join(made.directions)}.")
    else:
        print(f"{made.kind.capitalize()} written to {made.folder}.")
