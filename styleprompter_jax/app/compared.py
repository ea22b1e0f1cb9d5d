"""The pictures that `evaluate` inverts: from files, or a data set."""

import hashlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from styleprompter_jax.app.pictures import find_pictures
from styleprompter_jax.core.paths import AnyPath
from styleprompter_jax.data.labels import Labelled
from styleprompter_jax.data.sources import TfdsSource
from styleprompter_jax.images.batches import read_ahead
from styleprompter_jax.images.files import open_image, resize, to_float
from styleprompter_jax.images.read_once import ReadOnce


class Compared:
    """Pictures at the side s that the encoder reads and the side t that is compared.

    Args:
        inputs: files, folders and globs; None for those of a data set.
        output: the folder of the results, whose pictures do not count.
        data: "avatars", or a TFDS data set, if there are no inputs.
        split, data_dir: of the data set.
        count: the first so many pictures only.
        skip_bad: leave out pictures that cannot be read, and warn of each.
        image_size: s.
        size: t.

    Attributes:
        paths: of the pictures; [] where they are a data set's.
        names: of the pictures, for people.
        labels: of the pictures, see `attributes`.
        description: what they are, for metrics.json.
    """

    def __init__(
        self,
        inputs: Sequence[AnyPath] | None,
        output: Path,
        image_size: int,
        size: int,
        *,
        data: str = "",
        split: str = "test",
        data_dir: AnyPath | None = None,
        count: int | None = None,
        skip_bad: bool = False,
    ):
        self._sides = {"image": image_size, "target": size}
        self._pixels = ReadOnce(self._read)
        if inputs:
            paths, _, skipped = find_pictures(inputs, output, skip_bad, self._pixels)
            self.paths = paths[:count]
            self._source: Any = [{"image": path} for path in self.paths]
            self.names: Sequence = [str(path) for path in self.paths]
            self.labels: list[str] = []
            self.description: dict[str, Any] = {
                "input": list(map(str, inputs)),
                "skipped": len(skipped),
            }
        else:
            name = "avatars/64" if data == "avatars" else data
            place = None if data_dir is None else os.fspath(data_dir)
            source = TfdsSource(name, split, place)
            self.paths, self._source = [], Labelled(source, count)
            self.names, self.labels = range(len(self._source)), self._source.names
            self.description = {"data": name, "split": split}

    def __len__(self) -> int:
        return len(self._source)

    def read(self, index: int) -> dict:
        """{"image": (s, s, 3), "target": (t, t, 3)}, uint8, and the labels."""
        element = self._source[index]
        image = element["image"]
        if isinstance(image, np.ndarray):
            return element | self._sized(image)
        return element | self._pixels(image)

    def _read(self, path: Path) -> dict:
        with open_image(path) as pixels:
            return self._sized(pixels)

    def _sized(self, pixels: np.ndarray) -> dict:
        enlarged = min(pixels.shape[:2]) < self._sides["target"]
        sides = {name: resize(pixels, side) for name, side in self._sides.items()}
        return {"enlarged": enlarged} | sides

    def batches(self, batch_size: int, count: int | None = None) -> Iterator[dict]:
        """Batches of what `read` gives, images in [-1, 1]; the next are read meanwhile.

        After all pictures `description` says how many there were, how many had to be
        enlarged, and a SHA-256 of what results are compared with.

        Args:
            batch_size: b.
            count: the first so many pictures only.
        """
        digest, enlarged = hashlib.sha256(), 0
        total = min(count or len(self), len(self))
        for _, rows in read_ahead(self.read, total, batch_size):
            batch = jax.tree.map(lambda *values: np.stack(values), *rows)
            digest.update(batch["target"].tobytes())
            enlarged += int(batch.pop("enlarged").sum())
            for name in self._sides:
                batch[name] = to_float(batch[name])
            yield batch
        if count is None:
            self.description |= {
                "count": total,
                "enlarged": enlarged,
                "sha256": digest.hexdigest(),
            }

    def attributes(self, batches: list[dict]) -> dict[str, np.ndarray]:
        """The attributes of several batches; see `data.labels`. {} without labels."""
        if not self.labels:
            return {}
        columns = {
            name: np.concatenate([batch[name] for batch in batches])
            for name in self.labels
        }
        return self._source.attributes(columns)
