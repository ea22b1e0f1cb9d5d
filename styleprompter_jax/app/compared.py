"""The images that `evaluate` inverts, from files or from a dataset."""

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
    """Images at two sizes: side s for the encoder, and side t for the comparison.

    Args:
        inputs: files, folders and globs; None to use a dataset.
        output: the folder of the results; its images are not inputs.
        data: "avatars", or a TFDS dataset; only without inputs.
        split, data_dir: split and folder of the dataset.
        count: use only the first `count` images; None for all.
        skip_bad: skip images that cannot be read, with a warning for each.
        image_size: s.
        size: t.

    Attributes:
        paths: paths of the images; [] for a dataset.
        names: names of the images, to show to users.
        labels: names of the labels; see `attributes`.
        description: a description of the images for metrics.json.
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
        """Returns {"image": (s, s, 3), "target": (t, t, 3)}, uint8, and the labels."""
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
        """Yields batches of the dicts of `read`, with images in [-1, 1].

        It reads ahead. After all images, `description` has their number, the number of
        enlarged images, and a SHA-256 of the targets.

        Args:
            batch_size: images in a batch.
            count: use only the first `count` images; None for all.
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
        """Returns the attributes of batches; see `data.labels`. {} without labels."""
        if not self.labels:
            return {}
        columns = {
            name: np.concatenate([batch[name] for batch in batches])
            for name in self.labels
        }
        return self._source.attributes(columns)
