"""`styleprompter evaluate`: measures inversions, codes and edits."""

import argparse

from styleprompter_jax.cli.arguments import (
    add_model,
    options,
    path,
)
from styleprompter_jax.cli.measured import add_measured, skipped_lines, wrong_measured


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of the command."""
    add_model(parser)
    add_measured(
        parser,
        "evaluation",
        "folder of metrics.json, images.csv and sheet.png",
        "the model's size, at most 256",
    )
    parser.add_argument(
        "--latents",
        type=path,
        metavar="FILE",
        help="latents.npz that `invert` wrote for the same --input; measures these "
        "codes and tuned generators, instead of the encoder's codes",
    )


def wrong(args: argparse.Namespace) -> str | None:
    """Returns the reason why the options do not fit together, if any."""
    return wrong_measured(args)


def run(args: argparse.Namespace) -> None:
    """Runs the command and prints its results."""
    from styleprompter_jax.app.evaluate import evaluate

    done = evaluate(**options(args))
    print(f"{_summary(done.results, done.titles)}\n\n{done.metrics} has all results.")


def _summary(results: dict, titles: dict[str, str]) -> str:
    """Returns the results as tables in Markdown, and the skipped metrics."""
    from styleprompter_jax.evaluation.evaluate import DEPTHS

    parts = list(results["unquantised"])
    columns = [(depth, part) for part in parts for depth in DEPTHS]
    lines = [
        "| | " + " | ".join(f"{titles[p]}, {d}" for d, p in columns) + " |",
        "|---" * (1 + len(columns)) + "|",
    ]
    for name in results["unquantised"][parts[0]]:
        numbers = (results[depth][part][name] for depth, part in columns)
        cells = ("-" if number is None else f"{number:.4g}" for number in numbers)
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    timed = (("model", "the model alone"), ("end_to_end", "end to end"))
    for kind, text in timed if "time" in results else ():
        times = (
            "{} {:.1f} ms, p95 {:.1f}".format(
                titles[part], 1000 * time["median"], 1000 * time["p95"]
            )
            for part, time in results["time"][kind].items()
        )
        lines.append(f"\nAn image, {text}: {'; '.join(times)}.")
    judged = (part for part in parts if part in results.get("edits", {}))
    for part in judged:
        lines += ["", *_table_of_edits(titles[part], results["edits"][part])]
    return "\n".join(lines + skipped_lines(results))


def _table_of_edits(title: str, edits: dict) -> list[str]:
    lines = [
        f"| edit, {title} | strength | images | flipped | kept, lowest share |",
        "|---|---|---|---|---|",
    ]
    for name, edit in edits.items():
        if not edit["count"]:
            continue
        kept = {other: v for other, v in edit["kept"].items() if v is not None}
        other = min(kept, key=kept.__getitem__, default=None)
        least = f"{kept[other]:.1%} ({other})" if kept else "-"
        lines.append(
            f"| {name} | {edit['strength']:.3g} | {edit['count']} | "
            f"{edit['flipped']:.1%} | {least} |"
        )
    return lines
