"""Windows, and the tables of attention inside them."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import quick

from styleprompter_jax.ops import windows


def test_partition_and_reverse():
    x = np.arange(2 * 6 * 9 * 5).reshape(2, 6, 9, 5)
    parts = windows.window_partition(x, 3)
    assert parts.shape == (2, 6, 9, 5)
    # Window 4 is the second of the second row; its cell 5 is (1, 2).
    np.testing.assert_array_equal(parts[:, 4, 5], x[:, 3 + 1, 3 + 2])
    np.testing.assert_array_equal(windows.window_reverse(parts, 3, 6), x)


def test_partition_keeps_further_axes():
    x = np.arange(4 * 4 * 2 * 3).reshape(1, 4, 4, 2, 3)
    parts = windows.window_partition(x, 2)
    assert parts.shape == (1, 4, 4, 2, 3)
    np.testing.assert_array_equal(windows.window_reverse(parts, 2, 4), x)


@pytest.mark.parametrize(("size", "window", "shift"), [(8, 4, 2), (9, 3, 1), (6, 2, 1)])
def test_shift_regions(size, window, shift):
    """Cells of a shifted window see each other where they were near before."""
    regions = windows.shift_regions(size, window, shift)
    where = np.stack(np.meshgrid(*2 * [np.arange(size)], indexing="ij"), -1)
    where = np.roll(where, (-shift, -shift), (0, 1))
    cells = windows.window_partition(where[None], window)[0]
    distance = np.abs(cells[:, :, None] - cells[:, None]).max(-1)
    same = regions[:, :, None] == regions[:, None]
    np.testing.assert_array_equal(same, distance < window)


def test_log_offsets():
    table = windows.log_offsets(5)
    assert table.shape == (9, 9, 2)
    # Offsets 1, 2 and 4 of at most 4 are 2, 4 and 8 of 8.
    expected = np.log2([1, 3, 5, 9]) / 3
    np.testing.assert_allclose(table[4, [4, 5, 6, 8], 1], expected)
    np.testing.assert_allclose(table[[4, 5, 6, 8], 4, 0], expected)
    np.testing.assert_allclose(table, -table[::-1, ::-1])
    assert (windows.log_offsets(1) == 0).all()


@pytest.mark.parametrize("window", [1, 2, 5])
def test_spread_offsets(window):
    table = np.random.default_rng(0).normal(size=(3, 2 * window - 1, 2 * window - 1))
    y, x = np.divmod(np.arange(window**2), window)
    rows = y[:, None] - y + window - 1
    columns = x[:, None] - x + window - 1
    weights = np.random.default_rng(1).normal(size=(3, window**2, window**2))

    @quick.jit
    def spread_and_gradient(table):
        spread, pullback = jax.vjp(windows.spread_offsets, table)
        return spread, *pullback(jnp.asarray(weights, table.dtype))

    spread, gradient = spread_and_gradient(table)
    np.testing.assert_allclose(spread, table[:, rows, columns], rtol=1e-6)
    expected = np.zeros(table.shape)
    for q, k in itertools.product(range(window**2), repeat=2):
        expected[:, rows[q, k], columns[q, k]] += weights[:, q, k]
    np.testing.assert_allclose(gradient, expected, atol=1e-5)
