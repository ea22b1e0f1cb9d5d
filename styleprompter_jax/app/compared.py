"""The images that `evaluate` inverts, from files or from a dataset."""

import hashlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from styleprompter_jax.app.pictures import find_pictures, names_of
from styleprompter_jax.core.paths import AnyPath
from styleprompter_jax.core.values import whole
from styleprompter_jax.data.labels import Labelled
from styleprompter_jax.data.sources import TfdsSource
from styleprompter_jax.images.batches import read_ahead
from styleprompter_jax.images.files import open_image, resize, to_float
from styleprompter_jax.images.find import shown
from styleprompter_jax.images.inputs import InputReader
from styleprompter_jax.images.read_once import ReadOnce


class Compared:
    """Images in two forms: as the encoder reads them, and as they are compared.

    Args:
        inputs: files, folders and globs; None to use a dataset.
        output: the folder of the results; its images are not inputs.
        data: "avatars", "cells", or a TFDS dataset; only without inputs.
        split, data_dir: split and folder of the dataset.
        count: read and use only the first `count` images; None for all.
        skip_bad: skip images that cannot be read, with a warning for each.
        reader: the reader of the encoder's inputs, (h, w, 3).
        shape: (h', w') of the compared images.
        tuning: the reader of the images to which generators are tuned, if they are
            others than the encoder's inputs.

    Attributes:
        paths: paths of the images; [] for a dataset.
        names: names of the images, to show to users.
        keys: the names that `invert` gives to the images; [] for a dataset.
        labels: names of the labels; see `attributes`.
        description: a description of the images for metrics.json.
    """

    def __init__(
        self,
        inputs: Sequence[AnyPath] | None,
        output: Path,
        reader: InputReader,
        shape: tuple[int, int],
        *,
        tuning: InputReader | None = None,
        data: str = "",
        split: str = "test",
        data_dir: AnyPath | None = None,
        count: int | None = None,
        skip_bad: bool = False,
    ):
        if count is not None:
            whole(count, "count", 1)
        self._readers = {"image": reader} | (
            {"tuning_target": tuning} if tuning else {}
        )
        self._shape = shape
        self._pixels = ReadOnce(self._read)
        if inputs:
            self.paths, results, skipped = find_pictures(
                inputs, output, skip_bad, self._pixels, count=count
            )
            self.keys = names_of(results, output)
            self._source: Any = [{"image": path} for path in self.paths]
            self.names: Sequence = [str(path) for path in self.paths]
            self.labels: list[str] = []
            self.description: dict[str, Any] = {
                "input": list(map(str, inputs)),
                "skipped": len(skipped),
            }
        else:
            place = None if data_dir is None else os.fspath(data_dir)
            source = TfdsSource(data, split, place)
            self.paths, self.keys = [], []
            self._source = Labelled(source, count)
            self.names, self.labels = range(len(self._source)), self._source.names
            self.description = {"data": source.name, "split": split}

    def __len__(self) -> int:
        return len(self._source)

    def read(self, index: int) -> dict:
        """Returns {"image": (h, w, 3), "target": (h', w', 3)}, uint8, and labels.

        With a reader for tuning, the result also has a "tuning_target".
        """
        element = self._source[index]
        image = element["image"]
        if isinstance(image, np.ndarray):
            return element | self._sized(image, f"Image {index}")
        return element | self._pixels(image)

    def _read(self, path: Path) -> dict:
        with open_image(path) as pixels:
            return self._sized(pixels, shown(path))

    def _sized(self, pixels: np.ndarray, name: str) -> dict:
        there = pixels.shape[:2]
        return {
            "enlarged": any(a < b for a, b in zip(there, self._shape, strict=True)),
            "target": resize(pixels, self._shape),
        } | {key: reader.fit(pixels, name) for key, reader in self._readers.items()}

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
            for name in ("target", *self._readers):
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
