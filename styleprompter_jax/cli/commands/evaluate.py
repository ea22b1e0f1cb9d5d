"""`styleprompter evaluate`: metrics of inversions, codes and edits."""

import argparse

from styleprompter_jax.cli.arguments import (
    add_data_dir,
    add_decoding,
    add_input,
    add_model,
    add_overwrite,
    name_or_path,
    options,
    path,
    positive,
    side,
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what the command takes."""
    add_model(parser)
    source = parser.add_mutually_exclusive_group(required=True)
    add_input(source)
    source.add_argument(
        "--data", metavar="NAME", help='"avatars", or a TFDS data set with pictures'
    )
    parser.add_argument("--split", default="test", help="of --data (default: test)")
    add_data_dir(parser)
    parser.add_argument(
        "--count", type=positive, metavar="N", help="the first N pictures only"
    )
    parser.add_argument(
        "--output",
        type=path,
        default="evaluation",
        metavar="DIR",
        help="folder for metrics.json, images.csv and sheet.png (default: evaluation)",
    )
    add_overwrite(parser)
    parser.add_argument(
        "--size",
        type=side,
        metavar="S",
        help="side at which pictures are compared (default: the model's, 256 at most)",
    )
    parser.add_argument(
        "--networks",
        type=path,
        nargs="+",
        default=[],
        metavar="DIR",
        help="perceptual networks that `convert` wrote, for LPIPS, ID similarity, FID",
    )
    parser.add_argument(
        "--direction",
        dest="directions",
        type=name_or_path,
        nargs="+",
        metavar="D",
        help="directions to judge (default: all that the model knows)",
    )
    parser.add_argument(
        "--classifier",
        type=path,
        metavar="FILE",
        help="what judges edits (default for the avatars: the bundled one)",
    )
    add_decoding(parser)


def run(args: argparse.Namespace) -> None:
    """Does it, and prints what was made."""
    from styleprompter_jax.app.evaluate import evaluate

    done = evaluate(**options(args))
    print(f"{_summary(done.results)}\n\n{done.metrics} says the rest.")


def _summary(results: dict) -> str:
    """The results for people: tables in Markdown, and what was skipped."""
    from styleprompter_jax.app.evaluate import TITLES
    from styleprompter_jax.evaluation.evaluate import DEPTHS

    parts = list(results["unquantised"])
    columns = [(depth, part) for part in parts for depth in DEPTHS]
    lines = [
        "| | " + " | ".join(f"{TITLES[p]}, {d}" for d, p in columns) + " |",
        "|---" * (1 + len(columns)) + "|",
    ]
    for name in results["unquantised"][parts[0]]:
        numbers = (results[depth][part][name] for depth, part in columns)
        cells = ("-" if number is None else f"{number:.4g}" for number in numbers)
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    for kind, text in (("model", "the model alone"), ("end_to_end", "end to end")):
        times = (
            "{} {:.1f} ms, p95 {:.1f}".format(
                TITLES[part], 1000 * time["median"], 1000 * time["p95"]
            )
            for part, time in results["time"][kind].items()
        )
        lines.append(f"\nAn image, {text}: {'; '.join(times)}.")
    for part in parts if "edits" in results else ():
        lines += ["", *_table_of_edits(TITLES[part], results["edits"][part])]
    if results["skipped"]:
        lines.append("\nSkipped:")
        lines += [f"- {name}: {why}." for name, why in results["skipped"].items()]
    return "\n".join(lines)


def _table_of_edits(title: str, edits: dict) -> list[str]:
    lines = [
        f"| edit, {title} | strength | images | flips | others kept, the least |",
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
