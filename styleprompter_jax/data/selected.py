"""Sources that select elements of another source: a part, or its good images."""

import re
from math import gcd
from typing import Any

from absl import logging

from styleprompter_jax.core.errors import StylePrompterError

# Unreadable images in a row to skip. More than this is a fault of the whole dataset.
MOST_UNREADABLE = 100


class TooSmallError(StylePrompterError):
    """An image has too few pixels for the model."""


class Part:
    """The elements "A:B]" of a source, by number or by percentage of its length."""

    def __init__(self, source: Any, bounds: str):
        self._source = source
        found = re.fullmatch(r"(-?\d{1,18}%?)?:(-?\d{1,18}%?)?\]", bounds)
        if not found:
            raise StylePrompterError(
                f"[{bounds} is not a part of a split: write [A:B] with numbers of "
                "images or percentages, for example [:90%]."
            )
        whole = len(source)
        start, stop = (
            round(int(bound[:-1]) * whole / 100) if bound[-1:] == "%" else int(bound)
            for bound in (found[1] or "0", found[2] or str(whole))
        )
        self._range = range(whole)[start:stop]
        if not self._range:
            raise StylePrompterError(
                f"The part [{bounds} of {whole} images is empty: change "
                "config.data.train_split or config.data.eval_split."
            )

    def __len__(self) -> int:
        return len(self._range)

    def __getitem__(self, index: int) -> dict:
        return self._source[self._range[index]]

    def place(self, index: int) -> str:
        """Returns the name of an image for messages."""
        return self._source.place(self._range[index])

    def fingerprint(self) -> dict:
        """Returns the fingerprint of the elements of this part."""
        return self._source.fingerprint(self._range)


class LargeEnough:
    """A source that refuses images with too few pixels."""

    def __init__(self, source: Any, least: int):
        self._source, self._least = source, least

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: int) -> dict:
        element = self._source[index]
        height, width = element["image"].shape[:2]
        if min(height, width) < self._least:
            raise TooSmallError(
                f"{self.place(index)} has {width} x {height} pixels, but the model "
                f"needs {self._least} for each side: remove it, skip such images with "
                'config.data.on_bad="skip", or lower config.data.image_size.'
            )
        return element

    def place(self, index: int) -> str:
        """Returns the name of an image for messages."""
        return self._source.place(index)

    def fingerprint(self) -> dict:
        """Returns the fingerprint of the whole source."""
        return self._source.fingerprint()


class Skipping:
    """A source that replaces each unreadable or too small image by another one.

    The entry "bad" of an element is the number of images that were skipped for it. A
    warning names each skipped image once in each process.
    """

    def __init__(self, source: Any):
        self._source = source
        self._logged: set[int] = set()
        # Bad images often lie side by side. A stride, and not the next image, so that
        # no image replaces them all. It reaches all images.
        count = len(source)
        first = max(1, round(0.618 * count))
        self._stride = next(
            k for k in range(first, 2 * first + 2) if gcd(k, count) == 1
        )

    def __len__(self) -> int:
        return len(self._source)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):  # unpickling asks before `_source` exists
            raise AttributeError(name)
        return getattr(self._source, name)

    def __getitem__(self, index: int) -> dict:
        unreadable = 0
        for bad in range(len(self)):
            there = (index + bad * self._stride) % len(self)
            try:
                return self._source[there] | {"bad": bad}
            except StylePrompterError as error:
                if there not in self._logged:
                    self._logged.add(there)
                    logging.warning("Skipped: %s", error)
                last = error
                unreadable += not isinstance(error, TooSmallError)
            if unreadable == MOST_UNREADABLE:
                break
        raise StylePrompterError(
            f"{bad + 1} images in a row cannot be used: repair the dataset. The last "
            f"error was: {last}"
        )
