"""From a source to batches of float32 NHWC images in [-1, 1], with Grain."""

from collections.abc import Iterator

import grain

from styleprompter_jax.errors import StylePrompterError
from styleprompter_jax.images.files import resize, to_float

# In-process threads: they overlap reading with the step and cost nothing on two
# cores. A few batches ahead is enough, and bounds the memory at 1024 px.
READING = grain.ReadOptions(num_threads=2, prefetch_buffer_size=4)


def train_iterator(
    source,
    *,
    batch_size: int,
    image_size: int,
    flip: bool,
    seed: int,
    shard: tuple[int, int] = (0, 1),
) -> grain.DatasetIterator:
    """Endless shuffled batches, a function of the seed alone.

    Every epoch has its own order. All hosts walk one sequence of images in turns, so
    in each epoch every image is seen exactly once by exactly one of them. A batch may
    hold the end of an epoch and the beginning of the next.

    Args:
        source: a sequence of {"image": uint8 (h, w, 3), ...}.
        batch_size: images in a batch of this host.
        image_size: side of the square images; see `images.files.resize`.
        flip: mirror half of the images, drawn anew for every visit.
        seed: of order and flips; the same on all hosts.
        shard: (index of this host, number of hosts).

    Returns:
        An iterator of {"image": float32 (batch_size, image_size, image_size, 3)}.
        `get_state()` is its position as a JSON-serialisable dict, and after
        `set_state(...)` it goes on exactly from there.

    Raises:
        StylePrompterError: if the hosts' batches hold more images than the source.
    """
    index, count = shard
    if len(source) < batch_size * count:
        raise StylePrompterError(
            f"The data set has {len(source)} images, fewer than one batch of "
            f"{batch_size * count}: add images or lower config.batch_size."
        )

    def load(element):
        return resize(element["image"], image_size)

    def mirror(image, rng):
        return image[:, ::-1] if rng.random() < 0.5 else image

    dataset = grain.MapDataset.source(source).seed(seed).shuffle().repeat()
    dataset = dataset[index::count].map(load)
    if flip:
        dataset = dataset.random_map(mirror)
    dataset = dataset.batch(batch_size).map(lambda batch: {"image": to_float(batch)})
    return iter(dataset.to_iter_dataset(READING))


def eval_batches(source, *, batch_size: int, image_size: int) -> Iterator[dict]:
    """Every image once, in the source's order; the last batch may be smaller.

    Yields:
        {"image": float32 (b, image_size, image_size, 3), ...} with the source's other
        entries stacked along the first axis.
    """

    def load(element):
        return element | {"image": resize(element["image"], image_size)}

    def convert(batch):
        return batch | {"image": to_float(batch["image"])}

    dataset = grain.MapDataset.source(source).map(load).batch(batch_size).map(convert)
    yield from dataset.to_iter_dataset(READING)
