"""`styleprompter compare`: compares models or procedures on the same images."""

import argparse
from collections.abc import Mapping

from styleprompter_jax.cli.arguments import name_or_path, options
from styleprompter_jax.cli.measured import add_measured, skipped_lines, wrong_measured


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of the command."""
    parser.add_argument(
        "--models",
        nargs="+",
        type=name_or_path,
        required=True,
        metavar="M",
        help="models, each a name or path as for `evaluate --model`, optionally with "
        "options: M,iterations=N M,optimize=N M,tune=N M,refine=no M,beta=B1:B2 "
        "M,latents=FILE; the first is the reference",
    )
    add_measured(
        parser,
        "comparison",
        "folder of metrics.json and sheet.png",
        "the size of the smallest model, at most 256",
    )


def wrong(args: argparse.Namespace) -> str | None:
    """Returns the reason why the options do not fit together, if any."""
    return wrong_measured(args)


def run(args: argparse.Namespace) -> None:
    """Runs the command and prints its table."""
    from styleprompter_jax.app.compare import compare

    done = compare(**options(args))
    print(f"{_table(done.results)}\n\n{done.metrics} has all results.")


def _table(results: dict) -> str:
    """Returns the means and the differences as tables in Markdown."""
    rows, first = results["models"], results["models"][0]
    names = list(dict.fromkeys(name for row in rows for name in row["metrics"]))
    lines = [
        "Means over the images, with 95 % intervals:\n",
        f"| | {' | '.join(names)} | seconds |",
        "|---" * (len(names) + 2) + "|",
    ]
    for row in rows:
        cells = (cell(row["metrics"].get(name)) for name in names)
        seconds = f"{row['seconds']['median']:.3g}" if row["seconds"] else "-"
        lines.append(f"| {row['title']} | {' | '.join(cells)} | {seconds} |")
    lines += [
        f"\nDifferences from {first['title']}, paired by image:\n",
        f"| | {' | '.join(names)} |",
        "|---" * (len(names) + 1) + "|",
    ]
    for title, found in results["differences"].items():
        cells = (cell(found.get(name)) for name in names)
        lines.append(f"| {title} | {' | '.join(cells)} |")
    return "\n".join(lines + skipped_lines(results))


def cell(found: Mapping | None) -> str:
    """Formats a mean and its interval, a result of `interval`."""
    if found is None or found["mean"] is None:
        return "-"
    mean = f"{found['mean']:.4g}"
    if found["low"] is None:  # of one image
        return mean
    return f"{mean} ({found['low']:.4g} to {found['high']:.4g})"
