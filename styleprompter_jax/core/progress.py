"""Progress of long work: a bar on a terminal, and lines in a log."""

import logging
import math
import os
import threading
import weakref
from collections.abc import Iterable, Iterator
from typing import Any

from tqdm import tqdm

PERIOD = 30.0  # seconds between two lines
_LINE = "{desc}{n_fmt} of {total_fmt}, {elapsed} so far, {remaining} left"

log = logging.getLogger(__name__)


class Progress(tqdm):
    """A bar of `tqdm`; a line of the log every `PERIOD` seconds without a terminal.

    Use it in a `with` block. There, iterate or call `update`. Without the block, the
    lines go on after an exception for as long as something holds its traceback, as a
    notebook does. Work that ends sooner logs no line.

    Args:
        items: what to count while a caller iterates; or None, and calls of `update`.
        options: of `tqdm`: total, unit, desc, leave, and others.
    """

    def __init__(self, items: Iterable | None = None, **options: Any):
        self._over = threading.Event()
        lines = not os.isatty(2)
        if lines:
            # A thread alone tells, so that one slow step does not end the lines.
            options |= dict(mininterval=math.inf, delay=math.inf, leave=False)
            options["bar_format"] = _LINE
            if desc := options.get("desc"):
                options["desc"] = f"{desc}: "
        super().__init__(items, **options)
        self._lines, self._begun = lines and not self.disable, False

    def __enter__(self) -> "Progress":
        """Begins the lines, in the outermost block."""
        if self._lines and not self._begun:
            self._begun = True
            # The thread does not keep a bar that its caller has dropped.
            given = weakref.ref(self), self._over
            threading.Thread(target=_tell, args=given, daemon=True).start()
        return super().__enter__()

    def __iter__(self) -> Iterator:
        """Yields the items, and counts them."""
        if not self._lines:
            yield from super().__iter__()
            return
        with self:
            for item in self.iterable:
                yield item
                self.update()

    def close(self) -> None:
        """Ends the bar, or the lines."""
        self._over.set()
        super().close()


def _tell(bar: Any, over: threading.Event) -> None:
    while not over.wait(PERIOD) and (found := bar()) is not None:
        log.info("%s", found)
        del found
