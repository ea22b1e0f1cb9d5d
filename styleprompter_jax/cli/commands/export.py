"""`styleprompter export`: writes a model as programs for other runtimes."""

import argparse

from styleprompter_jax.cli.arguments import (
    IN_BUCKET,
    add_overwrite,
    name_or_path,
    options,
    path,
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of the command."""
    parser.add_argument(
        "model",
        type=name_or_path,
        help="a model folder, the name of a bundled model, hf://USER/MODEL, "
        f"{IN_BUCKET}",
    )
    parser.add_argument(
        "--format",
        required=True,
        choices=["jax", "onnx", "web"],
        help="jax: programs of jax.export for CPUs, CUDA and TPUs, with the weights "
        "beside; onnx: graphs for ONNX Runtime and others, with the weights inside; "
        "web: the same graphs, and the studio's page over them, for any web server",
    )
    parser.add_argument(
        "--output",
        type=path,
        required=True,
        metavar="DIR",
        help=f"folder to write, {IN_BUCKET}",
    )
    parser.add_argument(
        "--half",
        action="store_true",
        help="store the weights of ONNX graphs in float16, at half the size; the "
        "graphs compute in float32",
    )
    parser.add_argument(
        "--runtime",
        type=path,
        metavar="PATH",
        help="for --format web: the npm package onnxruntime-web, packed or unpacked "
        "(default: fetch it from npm)",
    )
    add_overwrite(parser, "an existing export")


def wrong(args: argparse.Namespace) -> str | None:
    """Returns the reason why the options do not fit together, if any."""
    if args.half and args.format == "jax":
        return "--half is for --format onnx and web"
    if args.runtime and args.format != "web":
        return "--runtime is for --format web"
    return None


def run(args: argparse.Namespace) -> None:
    """Runs the command and prints its results."""
    given = options(args)
    if args.format == "web":
        from styleprompter_jax.web.static import export_page

        del given["format"]
        made = export_page(**given)
    else:
        from styleprompter_jax.app.export import export

        del given["runtime"]
        made = export(**given)
    print(f"{made.folder} has the programs {', '.join(made.programs)}.")
    largest = max(made.difference.values())
    print(f"Compared with the model: they differ by {largest:.1g} at most.")
