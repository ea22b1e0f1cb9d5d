"""The pictures that `styleprompter evaluate` inverts: from files, or a data set."""

import hashlib
from collections.abc import Iterator

import jax
import numpy as np

from styleprompter_jax.app import pictures
from styleprompter_jax.app.read_once import ReadOnce
from styleprompter_jax.data.labels import Labelled
from styleprompter_jax.data.sources import TfdsSource
from styleprompter_jax.images.files import open_image, resize, to_float


class Compared:
    """Pictures at the side s that the encoder reads and the side t that is compared.

    Attributes:
        paths: of the pictures; [] where they are a data set's.
        names: of the pictures, for people.
        labels: of the pictures, see `attributes`.
        description: what they are, for metrics.json.
    """

    def __init__(self, args, image_size: int, size: int):
        self._sides = {"image": image_size, "target": size}
        self._pixels = ReadOnce(self._read)
        if args.input:
            paths, _, skipped = pictures.find_pictures(
                args.input, args.output, args.skip_bad, self._pixels
            )
            self.paths = paths[: args.count]
            self._source = [{"image": path} for path in self.paths]
            self.names, self.labels = [str(path) for path in self.paths], []
            self.description = {"input": args.input, "skipped": skipped}
        else:
            name = "avatars/64" if args.data == "avatars" else args.data
            source = TfdsSource(name, args.split, args.data_dir)
            self.paths, self._source = [], Labelled(source, args.count)
            self.names, self.labels = range(len(self._source)), self._source.names
            self.description = {"data": name, "split": args.split}

    def __len__(self) -> int:
        return len(self._source)

    def read(self, index: int) -> dict:
        """{"image": (s, s, 3), "target": (t, t, 3)}, uint8, and the labels."""
        element = self._source[index]
        image = element["image"]
        if isinstance(image, np.ndarray):
            return element | self._sized(image)
        return element | self._pixels(image)

    def _read(self, path) -> dict:
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
        for _, rows in pictures.read_ahead(self.read, total, batch_size):
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
