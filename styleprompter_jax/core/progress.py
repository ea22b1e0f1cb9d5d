"""Progress of long work: a bar on a terminal, and lines in a log."""

import logging
import math
import os
import threading
from collections.abc import Iterable
from typing import Any

from tqdm import tqdm

PERIOD = 30.0  # seconds between two lines
_LINE = "{desc}{n_fmt} of {total_fmt}, {elapsed} so far, {remaining} left"

log = logging.getLogger(__name__)


class Progress(tqdm):
    """A bar of `tqdm`; a line of the log every `PERIOD` seconds without a terminal.

    Work that ends sooner logs no line.

    Args:
        items: what to count while a caller iterates; or None, and calls of `update`.
        options: of `tqdm`: total, unit, desc, leave, and others.
    """

    def __init__(self, items: Iterable | None = None, **options: Any):
        self._over = threading.Event()
        lines = not os.isatty(2)
        if lines:
            # The thread alone tells, so that one slow step does not end the lines.
            options |= dict(mininterval=math.inf, delay=math.inf, leave=False)
            options["bar_format"] = _LINE
            if desc := options.get("desc"):
                options["desc"] = f"{desc}: "
        super().__init__(items, **options)
        if lines:
            threading.Thread(target=self._tell, daemon=True, name="progress").start()

    def close(self) -> None:
        """Ends the bar, or the lines."""
        self._over.set()
        super().close()

    def _tell(self) -> None:
        while not self._over.wait(PERIOD):
            log.info("%s", self)
