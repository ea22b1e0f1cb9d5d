"""Tables of `claims.py`, in Markdown."""

from collections.abc import Mapping, Sequence

import numpy as np

from styleprompter_jax.cli.commands.compare import cell
from styleprompter_jax.evaluation.comparison import RESAMPLES, interval

COLUMNS = ("mse", "psnr", "ssim", "codes", "flipped", "kept")
UNITS = {"psnr": "psnr (dB)"}


def table_of(found: Mapping[str, tuple]) -> str:
    """Returns two tables in Markdown: means, and differences from the first row.

    Args:
        found: for each row the values of each image by metric, for each seed; the
            processor seconds of an inversion; and the budgets of the trainings.
    """
    means = {title: _averaged(seeds) for title, (seeds, *_) in found.items()}
    first = next(iter(means))
    names = [name for name in COLUMNS if name in means[first]]
    titles = [UNITS.get(name, name) for name in names]
    budget = ("parameters", "images", "processor s") if found[first][2] else ()
    lines = [
        f"| | {' | '.join([*titles, 'processor s an image', *budget])} |",
        "|---" * (2 + len(names) + len(budget)) + "|",
    ]
    for title, (_, seconds, budgets) in found.items():
        cells = [cell(interval(means[title][name])) for name in names]
        cells.append(f"{seconds:.3g}")
        if budgets:
            spent = np.mean([one["processor_seconds"] for one in budgets])
            cells += [f"{budgets[0][key]:,}" for key in ("parameters", "images")]
            cells.append(f"{spent:,.0f}")
        elif budget:
            cells += ["-"] * len(budget)
        lines.append(f"| {title} | {' | '.join(cells)} |")
    several = any(len(seeds) > 1 for seeds, *_ in found.values())
    of_each = "; of each seed in brackets" if several else ""
    lines += [
        f"\nDifferences from {first}, paired by image{of_each}:\n",
        f"| | {' | '.join(titles)} |",
        "|---" * (1 + len(names)) + "|",
    ]
    for title, (seeds, *_) in found.items():
        if title != first:
            cells = []
            for name in names:
                pairs = zip(_each(found[first][0], seeds), seeds, strict=True)
                each = [np.nanmean(b[name] - a[name]) for a, b in pairs]
                text = cell(interval(means[title][name] - means[first][name]))
                if len(each) > 1:
                    text += f" [{', '.join(f'{x:.3g}' for x in each)}]"
                cells.append(text)
            lines.append(f"| {title} | {' | '.join(cells)} |")
    return "\n".join(lines)


def at_equal_psnr(first: Sequence, second: Sequence) -> str:
    """Returns a table in Markdown: edits of the second curve less those of the first.

    The second curve is interpolated linearly at each PSNR of the first that it reaches.
    The intervals resample the images.

    Args:
        first: for each point of a curve the values of m images by metric, for each
            seed.
        second: the same of the other curve.
    """

    def means(curve: Sequence, weights: np.ndarray, name: str) -> np.ndarray:
        """Returns the means (points,); weights (m,) say how often an image counts."""
        values = np.array([one[name] for one in curve])
        known = weights * np.isfinite(values)
        return (known * np.nan_to_num(values)).sum(1) / known.sum(1)

    def differences(seeds: Sequence[int], weights: np.ndarray) -> np.ndarray:
        a, b = (
            [_averaged([point[k] for k in seeds]) for point in curve]
            for curve in (first, second)
        )
        at, there = means(a, weights, "psnr"), means(b, weights, "psnr")
        order = np.argsort(there)
        others = np.interp(
            at, there[order], means(b, weights, "flipped")[order], np.nan, np.nan
        )
        return others - means(a, weights, "flipped")

    seeds, m = range(len(first[0])), len(first[0][0]["psnr"])
    rng, whole = np.random.default_rng(0), np.ones(m)
    resampled = np.array([
        differences(seeds, np.bincount(rng.integers(0, m, m), minlength=m))
        for _ in range(RESAMPLES)
    ])  # fmt: skip
    each = [differences([seed], whole) for seed in seeds]
    psnrs = means([_averaged(point) for point in first], whole, "psnr")
    lines = ["At equal PSNR, the second curve less the first:\n"]
    lines += ["| psnr (dB) | flipped |", "|---|---|"]
    for k, difference in enumerate(differences(seeds, whole)):
        if np.isfinite(difference):
            low, high = np.nanquantile(resampled[:, k], [0.025, 0.975])
            text = f"{difference:.4g} ({low:.4g} to {high:.4g})"
            text += f" [{', '.join(f'{one[k]:.3g}' for one in each)}]"
            lines.append(f"| {psnrs[k]:.4g} | {text} |")
    return "\n".join(lines)


def _averaged(seeds: Sequence[Mapping]) -> dict[str, np.ndarray]:
    """Returns for each image the mean over the seeds, by metric."""
    return {name: np.mean([one[name] for one in seeds], 0) for name in seeds[0]}


def _each(first: Sequence, others: Sequence) -> Sequence:
    """Returns the first row's values for each seed of another row."""
    return first if len(first) == len(others) else [_averaged(first)] * len(others)
