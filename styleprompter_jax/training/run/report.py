"""The reports of a training: progress bar, metrics.jsonl, TensorBoard, sample grids."""

import json
import math
import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import jax
import numpy as np
from tqdm import tqdm

from styleprompter_jax.core.atomic import atomic_path
from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.core.files import open_file
from styleprompter_jax.core.json_files import parse_json
from styleprompter_jax.images.files import to_uint8, write_image
from styleprompter_jax.images.sheets import image_grid
from styleprompter_jax.training.run.events import Events
from styleprompter_jax.training.run.workdir import writing

_LINE = 2**16  # bytes; lines have a few hundred


class Report:
    """Writes the reports of a run; use as a context manager.

    A call that cannot write its file raises StylePrompterError.

    Args:
        workdir: where metrics.jsonl, TensorBoard events and samples/ go.
        step: the step that the run resumes from.  Lines of metrics.jsonl beyond it,
            which an interrupted run wrote after its last checkpoint, are dropped.
        evaluate: whether the run will evaluate that step; then the line of an earlier
            evaluation is dropped too.
        total_steps: the end of the bar.
        batch_size: images per step on all devices, for images per second.
        peak_flops: FLOP/s of a device, for model FLOP utilisation; None if unknown.
    """

    def __init__(
        self,
        workdir: Path,
        *,
        step: int,
        evaluate: bool,
        total_steps: int,
        batch_size: int,
        peak_flops: float | None = None,
    ):
        self._workdir = workdir
        self._file = workdir / "metrics.jsonl"
        self.validation: dict[str, float] = {}  # metrics of the last evaluation
        with writing(workdir):
            _keep_lines(self._file, step, evaluate)
        self._events = Events(workdir)
        self._bar = tqdm(
            total=total_steps, initial=step, unit="step", dynamic_ncols=True
        )
        self._batch_size, self._peak_flops = batch_size, peak_flops
        self.restart_clock(step)

    def __enter__(self) -> "Report":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._bar.close()
        # Another error must not hide an error that already leaves the block.
        with writing(self._workdir) if kind is None else suppress(OSError):
            self._events.close()

    def advance(self, flops: float = 0.0) -> None:
        """Adds one step to the bar, with its FLOPs on one device."""
        self._bar.update()
        self._flops += flops

    def say(self, text: str) -> None:
        """Prints a line above the bar."""
        self._bar.write(text)

    def restart_clock(self, step: int) -> None:
        """Leaves the time of other work (compilation, evaluation) out of the rate."""
        self._since, self._flops = (step, time.perf_counter()), 0.0

    def scalars(self, step: int, values: dict, split: str = "train") -> None:
        """Writes one line; training lines get the speed since the one before."""
        values = {k: float(v) for k, v in values.items()}
        if split == "validation":
            self.validation = values
        if split == "train":
            since, clock = self._since
            seconds = time.perf_counter() - clock
            values["images_per_sec"] = (step - since) * self._batch_size / seconds
            values["seconds_per_step"] = seconds / (step - since)
            if self._peak_flops:
                used = self._flops / (seconds * self._peak_flops)
                values["model_flop_utilisation"] = used
            shown = {k: v for k, v in values.items() if k.startswith("loss")}
            rate = f"{values['images_per_sec']:.1f} img/s"
            self._bar.set_postfix_str(
                ", ".join([rate, *(f"{k} {v:.3f}" for k, v in shown.items())])
            )
        # JSON has no NaN, which a skipped step may give.
        row = {k: v if math.isfinite(v) else None for k, v in values.items()}
        with writing(self._workdir):
            with self._file.open("a") as f:
                f.write(json.dumps({"step": step, "split": split, **row}) + "\n")
            for key, value in row.items():
                if value is not None:
                    self._events.scalar(step, f"{split}/{key}", value)
            self._events.flush()
        if split == "train":
            self.restart_clock(step)

    def images(
        self, step: int, name: str, images: np.ndarray | jax.Array, columns: int
    ) -> None:
        """Writes samples/NAME_STEP.png of float images in [-1, 1].

        Raises:
            StylePrompterError: if an image is not finite, or for a full disk.
        """
        images = np.asarray(images)
        if not np.isfinite(images).all():
            raise StylePrompterError(
                f"At step {step}, the model gives images with NaN or infinity: lower "
                "config.learning_rate, and use another --workdir."
            )
        grid = image_grid(to_uint8(images), columns=columns)
        write_image(grid, self._workdir / "samples" / f"{name}_{step:07d}.png")
        with writing(self._workdir):
            self._events.image(step, name, grid)


class Silence:
    """The Report of a process that is not the first."""

    def __enter__(self) -> "Silence":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *_, **__: None


def _keep_lines(file: Path, step: int, evaluate: bool) -> None:
    """Drops the lines of later steps, and lines that do not hold metrics."""
    if not os.path.lexists(file):
        return
    with (
        open_file(file) as lines,
        atomic_path(file) as partial,
        partial.open("wb") as kept,
    ):
        for line in iter(lambda: lines.readline(_LINE), b""):
            if _is_before(line, step, evaluate):
                kept.write(line)


def _is_before(line: bytes, step: int, evaluate: bool) -> bool:
    try:
        row = parse_json(line)
    except ValueError:
        return False  # half a line of a killed run, or a bad byte
    own = row.get("step")
    if not line.endswith(b"\n") or type(own) is not int:
        return False
    again = evaluate and own == step and row.get("split") == "validation"
    return own <= step and not again
