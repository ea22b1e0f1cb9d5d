"""The events of a training for TensorBoard."""

import os
import time
from pathlib import Path
from typing import Any

import numpy as np


class Events:
    """A file of events, made at the first event.

    tensorboardX imports PyTorch where that is installed. The first step of a training
    does not wait for this.

    Args:
        workdir: the folder of the file.
    """

    def __init__(self, workdir: Path):
        self._workdir = workdir
        self._writer: Any = None

    def scalar(self, step: int, name: str, value: float) -> None:
        """Writes a number."""
        from tensorboardX import summary

        self._write(step, summary.scalar(name, value))

    def image(self, step: int, name: str, pixels: np.ndarray) -> None:
        """Writes an image, uint8 (h, w, 3)."""
        from tensorboardX import summary

        self._write(step, summary.image(name, pixels, dataformats="HWC"))

    def flush(self) -> None:
        """Sends the events to the disk."""
        if self._writer is not None:
            self._writer.flush()

    def close(self) -> None:
        """Closes the file."""
        if self._writer is not None:
            self._writer.close()

    def _write(self, step: int, value: Any) -> None:
        # Not SummaryWriter: its thread stops without a message if the disk is full.
        from tensorboardX.event_file_writer import EventsWriter
        from tensorboardX.proto.event_pb2 import Event

        if self._writer is None:
            # The name has the process number, so that a run that resumes within a
            # second does not overwrite the file of the previous run.
            name = str(self._workdir / "events")
            self._writer = EventsWriter(name, f".{os.getpid()}")
        self._writer.write_event(Event(wall_time=time.time(), step=step, summary=value))
