"""Latents as a sequence of images."""

import jax.numpy as jnp
import numpy as np
import pytest

import styleprompter_jax as sp

CODES = np.arange(6, dtype=np.float32).reshape(3, 2, 1)


@pytest.fixture(scope="module", params=[np.asarray, jnp.asarray], ids=["numpy", "jax"])
def latents(request):
    codes = request.param(CODES)
    return sp.Latents(codes, (codes[:, :, None],))


@pytest.mark.parametrize(
    ("index", "rows"),
    [
        *((kind(2), [2]) for kind in (int, np.int64, np.uint8, np.array, jnp.int32)),
        (-1, [2]),
        (slice(1, None), [1, 2]),
        (slice(5, 9), []),
        (slice(None, None, -1), [2, 1, 0]),
        ([0, -1], [0, 2]),
        (np.array([1, 1, 0, 2]), [1, 1, 0, 2]),
        (jnp.array([1, 0]), [1, 0]),
        ([True, False, True], [0, 2]),
        (np.zeros(3, bool), []),
        ([], []),
    ],
)
def test_an_index_keeps_the_batch(latents, index, rows):
    chosen = latents[index]
    np.testing.assert_array_equal(chosen.w_plus, CODES[rows])
    np.testing.assert_array_equal(chosen.features[0], CODES[rows][:, :, None])


def test_a_loop_ends(latents):
    first, *_, last = latents
    assert first.w_plus.shape == last.w_plus.shape == (1, 2, 1)
    np.testing.assert_array_equal(last.w_plus, CODES[2:])
    assert len(list(reversed(latents))) == len(latents) == 3


def test_equal_are_those_of_equal_numbers(latents):
    assert latents == latents[:] and latents[0] in latents
    assert latents != latents[:2] and latents[1] != latents[0]
    assert latents != sp.Latents(latents.w_plus) and latents != 3
    assert sp.Latents(latents.w_plus[:1] + 9) not in latents


def test_codes_in_lists_and_no_codes(latents):
    assert sp.Latents(latents.w_plus.tolist())[1] == sp.Latents(latents.w_plus[1:2])
    for wrong in (None, "abc", 3, [[[1, 2], [3]]]):
        for use in (len, list, lambda latents: latents[0]):
            with pytest.raises(sp.StylePrompterError, match=r"^The codes are "):
                use(sp.Latents(wrong))
    with pytest.raises(sp.StylePrompterError, match="same number of images"):
        sp.Latents(latents.w_plus, (np.zeros((1, 4, 4, 8)),))[1]


@pytest.mark.parametrize("index", [3, -4, [0, 3], 2**70, np.uint64(2**63)])
def test_no_such_image(latents, index):
    with pytest.raises(sp.StylePrompterError, match=r"no image .* among 3") as caught:
        latents[index]
    assert isinstance(caught.value, IndexError)


@pytest.mark.parametrize(
    "index",
    [
        *(
            True,
            np.True_,
            None,
            ...,
            "a",
            "",
            1.0,
            [1.0],
            [[0]],
            [True],
            [True, 0],
            [0, [1]],
        ),
        *((0, 1), (0,), slice("a", None), slice(0, 2.5), slice(0, 1, 0)),
    ],
)
def test_other_indices_are_refused(latents, index):
    with pytest.raises(sp.StylePrompterError, match="not an index of latents"):
        latents[index]
