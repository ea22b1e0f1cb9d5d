"""What a training tells: progress bar, metrics.jsonl, TensorBoard, sample grids."""

import json
import os
import time
from pathlib import Path

import numpy as np
from tensorboardX import SummaryWriter
from tqdm import tqdm

from styleprompter_jax.images.files import image_grid, to_uint8, write_image


class Report:
    """One object a run; use as a context manager.

    Args:
      workdir: where metrics.jsonl, TensorBoard events and samples/ go.
      step: the step that the run resumes from.  Lines of metrics.jsonl beyond it,
        which an interrupted run wrote after its last checkpoint, are dropped.
      total_steps: the end of the bar.
      batch_size: global, for images per second.
    """

    def __init__(self, workdir: Path, *, step: int, total_steps: int, batch_size: int):
        self._workdir = workdir
        self._file = workdir / "metrics.jsonl"
        _keep_lines(self._file, step)
        self._writer = SummaryWriter(str(workdir), flush_secs=20)
        self._bar = tqdm(
            total=total_steps, initial=step, unit="step", dynamic_ncols=True
        )
        self._batch_size = batch_size
        self._since = (step, time.perf_counter())

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._bar.close()
        self._writer.close()

    def advance(self):
        """One step more on the bar."""
        self._bar.update()

    def say(self, text: str):
        """A line above the bar."""
        self._bar.write(text)

    def restart_clock(self, step: int):
        """Leaves out what was not training (compiling, evaluating) from the rate."""
        self._since = (step, time.perf_counter())

    def scalars(self, step: int, values: dict, split: str = "train"):
        """Writes one line; training lines get images_per_sec."""
        values = {k: float(v) for k, v in values.items()}
        if split == "train":
            since, clock = self._since
            seconds = time.perf_counter() - clock
            values["images_per_sec"] = (step - since) * self._batch_size / seconds
            self.restart_clock(step)
            shown = {k: v for k, v in values.items() if k.startswith("loss")}
            rate = f"{values['images_per_sec']:.1f} img/s"
            self._bar.set_postfix_str(
                ", ".join([rate, *(f"{k} {v:.3f}" for k, v in shown.items())])
            )
        with self._file.open("a") as f:
            f.write(json.dumps({"step": step, "split": split, **values}) + "\n")
        for key, value in values.items():
            self._writer.add_scalar(f"{split}/{key}", value, step)

    def images(self, step: int, name: str, images, columns: int):
        """Writes samples/NAME_STEP.png of float images in [-1, 1]."""
        grid = image_grid(to_uint8(np.asarray(images)), columns=columns)
        folder = self._workdir / "samples"
        folder.mkdir(exist_ok=True)
        write_image(grid, folder / f"{name}_{step:07d}.png")
        self._writer.add_image(name, grid, step, dataformats="HWC")


def _keep_lines(file: Path, step: int):
    if not file.exists():
        return
    kept = []
    for line in file.read_text().splitlines():
        try:
            if json.loads(line)["step"] <= step:
                kept.append(line + "\n")
        except (ValueError, KeyError):
            pass  # the half line of a run that was killed while it wrote
    temporary = file.with_suffix(".tmp")
    temporary.write_text("".join(kept))
    os.replace(temporary, file)
