"""Flips and crops: the same on any number of hosts, and as in earlier versions."""

from itertools import islice

import numpy as np
from test_data import Numbered

from styleprompter_jax.data.loader import train_iterator
from styleprompter_jax.data.quiet_grain import grain


def test_draws_do_not_depend_on_the_number_of_hosts():
    def images(index, count):
        batches = train_iterator(
            Numbered(30),
            batch_size=6 // count,
            image_size=6,
            flip=True,
            crop="random",
            seed=5,
            shard=(index, count),
        )
        return np.concatenate([batch["image"] for batch in islice(batches, 10)])

    one = images(0, 1)
    for count in (2, 3):
        for index in range(count):
            np.testing.assert_array_equal(images(index, count), one[index::count])


def test_one_host_draws_as_in_version_0_1():
    """A run that began with that version goes on with the same bits."""

    def mirror(element, rng):
        return {"image": element["image"][:, :: 1 if rng.random() >= 0.5 else -1]}

    before = grain.MapDataset.source(Numbered(20)).seed(7).shuffle().repeat()
    before = before[0 : 2**60 : 1].map(lambda element: element).random_map(mirror)
    now = train_iterator(Numbered(20), batch_size=20, image_size=8, flip=True, seed=7)
    expected = np.stack([before[index]["image"] for index in range(40)])
    found = np.concatenate([batch["image"] for batch in islice(now, 2)])
    np.testing.assert_array_equal(found, expected / np.float32(127.5) - 1)
