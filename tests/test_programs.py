"""Compiled programs for batches of many sizes are released again."""

import numpy as np

import styleprompter_jax as sp
from styleprompter_jax.core.programs import KEPT, BySize
from styleprompter_jax.inversion.mapping import map_z


def test_the_latest_sizes_are_kept():
    traced = []

    def double(factor, x):
        traced.append(len(x))
        return factor * x

    function = BySize(double, static_argnums=0, kept=3)
    for size in (1, 2, 3, 1, 4, 1, 3, 2):
        np.testing.assert_array_equal(
            function(size, 2, np.ones(size)), 2 * np.ones(size)
        )
    # 2 was the oldest when 4 came, and is compiled again.
    assert traced == [1, 2, 3, 4, 2]
    assert list(function._jitted) == [1, 3, 2]


def test_a_model_compiled_for_every_size_keeps_a_few(tiny_folder):
    model = sp.load(tiny_folder)
    z = np.random.default_rng(0).standard_normal((KEPT + 3, 16)).astype(np.float32)
    whole = np.asarray(model.mapping(z))
    for size in range(1, len(z) + 1):
        np.testing.assert_allclose(model.mapping(z[:size]), whole[:size], atol=1e-5)
        assert len(map_z._jitted) <= KEPT
