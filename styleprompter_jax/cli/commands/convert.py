"""`styleprompter convert`: converts published weights to a model folder, and back."""

import argparse

from styleprompter_jax.cli.arguments import add_overwrite, name_or_path, path, sha256
from styleprompter_jax.core.paths import is_link


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of the command."""
    parser.add_argument(
        "paths",
        type=name_or_path,
        nargs="+",
        metavar="PATH",
        help="files of weights, then the folder to write; or files of directions, then "
        "the model folder to add them to; or, with --export, a model folder. A file "
        "may also be an https link or a share link of Google Drive, and a file or "
        "folder may be in a bucket (gs://, s3://). The command "
        "downloads up to 8 GiB into the cache, and resumes an interrupted download",
    )
    parser.add_argument(
        "--sha256",
        action="append",
        type=sha256,
        metavar="SUM",
        help="the SHA-256 that a linked file must have; one for each link, in order",
    )
    parser.add_argument(
        "--export",
        type=path,
        metavar="FILE",
        help="write the model to FILE, in the format of the published PyTorch code; "
        "it may be in a bucket (gs://, s3://)",
    )
    add_overwrite(parser, "an existing model, file or direction of the model")


def wrong(args: argparse.Namespace) -> str:
    """Returns an error that argparse cannot detect, or "" for a correct call."""
    if args.export and len(args.paths) != 1:
        return "convert --export FILE takes one model folder"
    if not args.export and len(args.paths) < 2:
        return "convert takes one or more files, and then the folder to write"
    if is_link(args.export or args.paths[-1]):
        return "convert writes to a local folder or file, not to a link"
    links = sum(map(is_link, args.paths))
    if args.sha256 and len(args.sha256) != links:
        return f"{links} links need {links} --sha256, not {len(args.sha256)}"
    return ""


def run(args: argparse.Namespace) -> None:
    """Runs the command and prints its results."""
    from styleprompter_jax.app.convert import convert, export

    if args.export:
        exported = export(args.paths[0], args.export, overwrite=args.overwrite)
        print(f"{exported.file}: {exported.what}.")
        if exported.left_out:
            listed = ", ".join(exported.left_out)
            print(f"Left out: {listed} (the file's layout has no place for them).")
        return
    *files, folder = args.paths
    made = convert(files, folder, sha256=args.sha256 or (), overwrite=args.overwrite)
    if made.kind == "directions":
        print(f"{made.folder} knows {', '.join(made.directions)}.")
    else:
        print(f"{made.kind.capitalize()} written to {made.folder}.")
