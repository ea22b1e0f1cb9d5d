"""Which codes come from where when two images are mixed."""

import numpy as np
import pytest

from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.editing.mixing import mix, mixes

N = 4
SOURCE, REFERENCE = np.zeros((2, N, 3)), np.ones((2, N, 3))


def taken(mode, **options):
    """The share of the reference in each code, by name."""
    return {
        name: mix(SOURCE, REFERENCE, share)[1, :, 2].tolist()
        for name, share in mixes(mode, N, **options).items()
    }


def test_the_three_ways():
    assert taken("replace") == {
        "replace_0": [0, 0, 0, 0],
        "replace_1": [1, 0, 0, 0],
        "replace_2": [1, 1, 0, 0],
        "replace_3": [1, 1, 1, 0],
        "replace_4": [1, 1, 1, 1],
    }
    assert taken("exchange", layers=[3, 1]) == {
        "exchange_3": [0, 0, 0, 1],
        "exchange_1": [0, 1, 0, 0],
    }
    assert taken("replace", layers=[3, 1])["replace_1"] == [0, 0, 0, 1]
    shares = taken("interpolate", alphas=[0.25], layers=[0, 1])
    assert shares == {"interpolate_0.25": [0.25, 0.25, 0, 0]}
    assert len(taken("exchange")) == N and len(taken("interpolate")) == 11


def test_the_ends_are_exact():
    source, reference = np.random.default_rng(0).standard_normal((2, 1, N, 3))
    first, *_, last = mixes("interpolate", N).values()
    np.testing.assert_array_equal(mix(source, reference, first), source)
    np.testing.assert_array_equal(mix(source, reference, last), reference)


def test_wrong_mixes():
    for call, match in (
        (lambda: mixes("blend", N), "'blend'"),
        (lambda: mixes("exchange", N, [4]), r"\(--layers\) is 4"),
        (lambda: mixes("replace", N, alphas=[0.5]), "leave out alphas"),
    ):
        with pytest.raises(StylePrompterError, match=match):
            call()
