"""`make quickstart`: trains for seven minutes, then inverts and edits unseen faces.

    python -m styleprompter_jax.demo

It trains an encoder and SMART for the bundled generator. The layers that read the image
start from the bundled encoder; the latent tokens, the head and SMART are new. Then it
inverts the test split with them, and with the bundled encoder and SMART. It writes a
sheet of images and a table of metrics to runs/quickstart/, and replaces an earlier run.
"""

import json
import shutil
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging

from styleprompter_jax.core.atomic import write_text
from styleprompter_jax.core.compilation_cache import use_compilation_cache
from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.core.progress import Progress
from styleprompter_jax.data.loader import eval_batches
from styleprompter_jax.data.sources import make_source
from styleprompter_jax.evaluation.evaluate import evaluate
from styleprompter_jax.images.files import write_image
from styleprompter_jax.images.sheets import sheet
from styleprompter_jax.inversion.pipeline import load
from styleprompter_jax.training.config import get_config
from styleprompter_jax.training.loop import train

FOLDER = Path("runs/quickstart")
# Two cores finish these steps in SECONDS; a slower machine stops after SECONDS.
STEPS = {"encoder": 450, "smart": 220}
SECONDS = {"encoder": 300, "smart": 90}

FACES = 6
BATCH = 50
# A title, a direction, and the label of faces that already have the attribute.
EDITS = [
    ("smile", "smile", "smile"),
    ("glasses", "glasses", "glasses"),
    ("beard", "beard", "beard"),
    ("red hair", "hair_color_red", None),
]


def main() -> int:
    """Runs the whole demonstration, and returns the exit status."""
    logging.set_verbosity(logging.WARNING)
    use_compilation_cache()
    try:
        run(FOLDER, {stage: quickstart_config(stage) for stage in STEPS})
    except StylePrompterError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    return 0


def quickstart_config(stage: str) -> Any:
    """Returns the config configs/avatars_STAGE.py, shortened to minutes."""
    config = get_config(f"avatars_{stage}")
    config.total_steps = STEPS[stage]
    config.eval_every = config.checkpoint_every = config.total_steps
    config.optimizer.warmup_steps = min(50, config.total_steps // 10)
    if stage == "encoder":
        with config.unlocked():
            config.init_trunk = config.init_from
    return config


def run(folder: Path, configs: Any, reference: str | Path = "avatars64") -> None:
    """Trains, inverts and edits; writes sheet.png and table.md.

    Args:
        folder: folder of the results; replaces its encoder/ and smart/.
        configs: the configs of the stages "encoder" and "smart", by stage.
        reference: the model whose generator and directions the demo uses, and with
            which it compares the trained model.
    """
    data = configs["encoder"].data
    print("Dataset: the avatars, drawn on the first run.", flush=True)
    source = make_source(data, "test")
    bundled = load(reference)

    start, steps, trained = time.perf_counter(), {}, reference
    for stage, config in configs.items():
        print(f"\nTraining: stage {stage!r}, {SECONDS[stage]} seconds at most.")
        config.init_from = str(trained)
        workdir = folder / stage
        shutil.rmtree(workdir, ignore_errors=True)
        trained = train(config, workdir, time_limit=SECONDS[stage])
        steps[stage] = _last_step(workdir)
    minutes = (time.perf_counter() - start) / 60
    models = {"trained here": load(trained), Path(reference).name: bundled}

    print(f"\nInverting {len(source)} faces of the test split.", flush=True)
    results = {
        name: evaluate(
            model,
            Progress(
                eval_batches(source, batch_size=BATCH, image_size=data.image_size),
                total=-(-len(source) // BATCH),
                desc=name,
                unit="batch",
            ),
        )
        for name, model in models.items()
    }
    batch = next(eval_batches(source, batch_size=BATCH, image_size=data.image_size))
    chosen = choose_faces(source, batch)
    pictures = folder / "sheet.png"
    write_image(make_sheet(models, bundled.directions, batch, chosen), pictures)
    table = make_table(results)
    note = (
        f"{len(source)} faces of the test split, {data.image_size} px; MSE on the "
        f"[-1, 1] scale. Trained here: {steps['encoder']} steps of the encoder and "
        f"{steps['smart']} of SMART, {minutes:.1f} minutes.\n"
    )
    write_text(folder / "table.md", f"{table}\n{note}")
    print(f"\n{table}\n{note}\nSheet: {pictures}\nTable: {folder / 'table.md'}")


def choose_faces(source: Any, batch: Any) -> np.ndarray:
    """Returns indices of faces that show all edits: with hair, but not red hair."""
    bald = source.features["hair"].names.index("bald")
    red = source.features["hair_color"].names.index("red")
    seen = (batch["hair"] != bald) & (batch["hair_color"] != red)
    return np.flatnonzero(seen)[:FACES]


def make_sheet(models: Any, directions: Any, batch: Any, chosen: Any) -> np.ndarray:
    """Draws a row for each chosen face and model: input, inversions, edits.

    The sheet has no refined inversions if no model has a refiner.

    An edit adds an attribute to a face that lacks it, and removes it from a face that
    has it. The function edits the whole batch, because that shape is compiled already.
    """
    edits = [edit for edit in EDITS if edit[1] in directions]
    refined = any(model.config.refiner for model in models.values())
    columns = {}
    for name, model in models.items():
        latents = model.encode(batch["image"])
        made = [model.decode(latents, refine=False)]
        if refined:
            made.append(model.decode(latents))
        for _, name_of_direction, label in edits:
            direction = directions[name_of_direction]
            sign = 1 if label is None else np.where(batch[label], -1, 1)
            edited = latents.edit(direction, sign * direction.strength)
            made.append(model.decode(edited, **model.options_of(direction)))
        columns[name] = [batch["image"], *map(np.asarray, made)]
    titles = [f"± {title}" if label else title for title, _, label in edits]
    rows = [
        [column[face] for column in columns[name]] for face in chosen for name in models
    ]
    row_titles = [*models] * len(chosen) if len(models) > 1 else None
    inversions = ["W+", "refined"] if refined else ["W+"]
    return sheet(rows, ["input", *inversions, *titles], row_titles)


def make_table(results: Mapping) -> str:
    """Returns a Markdown table of the results of `evaluate`, given by model."""
    lines = ["| model | image from | MSE | PSNR (dB) | SSIM |", "|---|---|---|---|---|"]
    for name, result in results.items():
        for part, title in (("w_plus", "W+"), ("refined", "W+ and SMART")):
            if part not in result:
                continue
            mse, psnr, ssim = (result[part][key] for key in ("mse", "psnr", "ssim"))
            lines.append(f"| {name} | {title} | {mse:.4f} | {psnr:.2f} | {ssim:.3f} |")
    return "\n".join(lines) + "\n"


def _last_step(workdir: Path) -> int:
    return json.loads((workdir / "metrics.jsonl").read_text().splitlines()[-1])["step"]


if __name__ == "__main__":
    sys.exit(main())
