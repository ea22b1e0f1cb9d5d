"""Loads batches of float32 NHWC images in [-1, 1] from a source, with Grain."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
from absl import flags

from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.data.inputs import Inputs
from styleprompter_jax.data.quiet_grain import grain
from styleprompter_jax.data.sources import Source
from styleprompter_jax.images.files import Size, resize, resize_to_cover, to_float

# Threads read during the training step, and cost no time on two cores. A few batches in
# advance are enough, and limit the memory at 1024 px.
READING = grain.ReadOptions(num_threads=2, prefetch_buffer_size=4)
CROPS = ("center", "random")
PICTURES = ("image", "input")  # the images of an element


def train_iterator(
    source: Source,
    *,
    batch_size: int,
    image_size: Size,
    flip: bool,
    seed: int,
    crop: str = "center",
    workers: int = 0,
    shard: tuple[int, int] = (0, 1),
    inputs: Inputs | None = None,
) -> "TrainIterator":
    """Returns an endless iterator of shuffled batches, which depend only on the seed.

    Every epoch has its own order. All hosts share one sequence of images in turns, so
    in each epoch, exactly one host sees each image, exactly once. A batch may contain
    the end of an epoch and the beginning of the next. Flips, crops and drawn inputs do
    not depend on the number of hosts.

    Args:
        source: a sequence of {"image": uint8 (h, w, 3), ...}.
        batch_size: images in a batch of this host.
        image_size: side of the square images, or (height, width) for oblong ones. A
            random crop is square.
        flip: mirror each image with probability 1/2, chosen again in every epoch.
        seed: the seed of order, crops and flips; the same on all hosts.
        crop: the square of a resized image to use: "center", see
            `images.files.resize`, or "random", chosen again in every epoch.
        workers: number of processes that read; with 0, threads of this process read.
            It affects only the speed.
        shard: (index of this host, number of hosts).
        inputs: makes the encoder's input, if it is not the image.

    Raises:
        StylePrompterError: if the batches of all hosts need more images than the
            source has.
    """
    index, count = shard
    if len(source) < batch_size * count:
        raise StylePrompterError(
            f"The dataset has {len(source)} images, fewer than one batch of "
            f"{batch_size * count}: add images or lower config.batch_size."
        )

    def load(element: dict) -> dict:
        change: Any = resize_to_cover if crop == "random" else resize
        return element | {"image": change(element["image"], image_size)}

    def cut(element: dict, rng: np.random.Generator) -> dict:
        image = element["image"]
        side: Any = image_size
        y, x = (rng.integers(n - side + 1) for n in image.shape[:2])
        return element | {"image": image[y : y + side, x : x + side]}

    def mirror(element: dict, rng: np.random.Generator) -> dict:
        if rng.random() >= 0.5:
            return element
        seen = {k: element[k][:, ::-1] for k in PICTURES if k in element}
        return element | seen

    def keep(element: dict) -> dict:
        pictures = {k: element[k] for k in PICTURES if k in element}
        return pictures | {"bad": element.get("bad", 0)}

    dataset = grain.MapDataset.source(source).seed(seed).shuffle().repeat()
    # This end is never reached. It keeps the length within the limit of len().
    dataset = dataset[: 2**60].map(load)
    if crop == "random":
        dataset = dataset.random_map(cut)
    if flip:
        dataset = dataset.random_map(mirror)
    if inputs:
        dataset = dataset.random_map(inputs.draw)
    # Grain draws from the index in the dataset. So the hosts take their shares after
    # the draws: each image of the shared sequence gets its own.
    dataset = dataset[index::count]
    return TrainIterator(dataset.map(keep).batch(batch_size), workers, inputs)


class TrainIterator:
    """Yields {"image": float32 (b, h, w, 3) in [-1, 1]}; a context manager.

    With `Inputs`, it also yields "input", float32 (b, h, w, c).

    `get_state()` returns the position as a JSON-serialisable dict, independent of the
    number of workers. After `set_state(...)`, the iterator continues exactly there.
    """

    def __init__(
        self, batches: grain.MapDataset, workers: int, inputs: Inputs | None = None
    ):
        self._dataset, self._workers, self._inputs = batches, workers, inputs
        self._next_index = 0
        self._reading: Any = None  # Grain's iterator
        self._bad = 0

    def __enter__(self) -> "TrainIterator":
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def __iter__(self) -> "TrainIterator":
        return self

    def __next__(self) -> dict:
        if self._reading is None:
            self._reading = self._start()
        try:
            batch = next(self._reading)
        except RuntimeError as error:  # Grain raises it if a worker was killed
            raise StylePrompterError(
                f"Reading images failed ({str(error).splitlines()[0]}): if memory "
                "ran out, lower config.data.workers."
            ) from error
        self._next_index += 1
        self._bad += int(batch["bad"].sum())
        return _to_arrays(batch, self._inputs)

    def get_state(self) -> dict:
        """Returns the position as a JSON-serialisable dict."""
        return {"next_index": self._next_index}

    def set_state(self, state: dict) -> None:
        """Moves to a position from `get_state`."""
        self._close()
        self._next_index = state["next_index"]

    def bad_images(self) -> dict:
        """Returns {"bad_images": images skipped since the last call}, or {} if none."""
        count, self._bad = self._bad, 0
        return {"bad_images": count} if count else {}

    def _start(self) -> Any:
        dataset = self._dataset[self._next_index :].to_iter_dataset(READING)
        if self._workers:
            if not flags.FLAGS.is_parsed():
                flags.FLAGS.mark_as_parsed()  # Grain reads flags, even in a notebook
            options = grain.MultiprocessingOptions(num_workers=self._workers)
            dataset = dataset.mp_prefetch(options, worker_init_fn=_start_worker)
        return iter(dataset)

    def _close(self) -> None:
        if self._reading is not None:
            self._reading.close()
            self._reading = None


def _start_worker(index: int, count: int) -> None:
    """Makes a worker end when its training process ends, and not earlier."""
    # Ctrl-C and schedulers signal the whole process group. The training process ends
    # its workers.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    training = multiprocessing.parent_process()

    def end_with_it() -> None:
        if training:
            training.join()
        os._exit(1)

    threading.Thread(target=end_with_it, daemon=True).start()


def eval_batches(
    source: Source,
    *,
    batch_size: int,
    image_size: Size,
    inputs: Inputs | None = None,
) -> Iterator[dict]:
    """Yields every image once, in the order of the source, in batches.

    The last batch may be smaller.

    Yields:
        {"image": float32 (b, h, w, 3), ...}, where image_size is a side or (h, w), with
        the labels of the source, (b,): its entries that are single values. With
        ``inputs`` also "input", float32 (b, h, w, c), the same in every call.
    """

    def load(element: dict) -> dict:
        # Lists, such as boxes, have another length for each image.
        kept = {k: v for k, v in element.items() if k in PICTURES or _is_single(v)}
        return kept | {"image": resize(element["image"], image_size)}

    def convert(batch: dict) -> dict:
        return batch | _to_arrays(batch, inputs)

    dataset = grain.MapDataset.source(source).map(load)
    if inputs:
        dataset = dataset.seed(0).random_map(inputs.draw)
    yield from dataset.batch(batch_size).map(convert).to_iter_dataset(READING)


def _is_single(value: Any) -> bool:
    return np.isscalar(value) or getattr(value, "ndim", None) == 0


def picture_size(data_config: Any) -> Size:
    """Returns the image size of `config.data`: a side, or (height, width)."""
    height, size = data_config.get("image_height"), data_config.image_size
    return (height, size) if height else size


def _to_arrays(batch: dict, inputs: Inputs | None) -> dict:
    """Converts the images of a batch, and the encoder's inputs, to floats."""
    arrays = {"image": to_float(batch["image"])}
    if inputs:
        arrays["input"] = inputs.to_array(batch["input"])
    return arrays
