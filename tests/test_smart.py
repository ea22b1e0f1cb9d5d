"""SMART: parity with the published code, the keys of a query, and the options."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import quick
import recipe
import reference
from einops import rearrange

from styleprompter_jax.convert.table import read_table
from styleprompter_jax.convert.tables.smart import SMART_BLOCK
from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.models.refiners.smart import (
    Smart,
    SmartBlock,
    SmartConfig,
    retrieve,
)

SIZES = (8, 16, 32)
CONFIG = SmartConfig(ffn_dim=40)


def to_map(x):
    return rearrange(x, "b (h w) c -> b h w c", h=round(x.shape[1] ** 0.5))


@pytest.fixture(scope="module", params=SIZES)
def case(request):
    """Query map, features, parameters, and the fixture's other arrays, by size."""
    size = request.param
    arrays = recipe.arrays("smart")
    x = to_map(arrays[f"query_{size}"])
    features = [to_map(arrays[f"features_{size}_{i}"]) for i in range(4)]
    block = SmartBlock(CONFIG)
    like = jax.eval_shape(block.init, jax.random.key(0), x, features)["params"]
    state = recipe.state_dict("smart", f"smart_{size}.")
    expected = {
        key.removeprefix(f"out_{size}_"): to_map(y)
        for key, y in arrays.items()
        if key.startswith(f"out_{size}_")
    }
    index = arrays[f"index_{size}"]
    return x, features, read_table(SMART_BLOCK, state, like), expected, index


def refine(config=CONFIG):
    block = SmartBlock(config)
    return quick.jit(
        lambda params, x, features, beta: block.apply(
            {"params": params}, x, features, beta
        )
    )


def test_parity(case):
    x, features, params, expected, _ = case
    run = refine()
    assert len(expected) == 4
    for key, y in expected.items():
        beta = tuple(float(b) for b in key.split("_"))
        assert recipe.relative_error(run(params, x, features, beta), y) < 1e-6


def test_parity_in_float64(case):
    """Against plain NumPy, which is held to the fixture's float32."""
    x, features, params, expected, index = case
    with quick.float64():
        args = jax.tree.map(lambda a: a.astype(np.float64), (params, x, features))
        run, flat = refine(), [rearrange(f, "1 h w c -> (h w) c") for f in args[2]]
        for key, y in expected.items():
            beta = tuple(float(b) for b in key.split("_"))
            plain = reference.smart_block(
                args[0], args[1].reshape(-1, x.shape[-1]), flat, index, 4, beta
            ).reshape(x.shape)
            assert recipe.relative_error(plain, y) < 1e-6
            assert recipe.relative_error(run(*args, beta), plain) < 1e-8


def test_query_sees_the_cells_that_cover_it(case):
    """Exactly the keys that the published code gathers, map by map."""
    x, features, params, _, index = case
    block = SmartBlock(CONFIG)
    size = x.shape[1]

    @quick.jit
    def gradients(x, features, cell):
        def value(features):
            y = block.apply({"params": params}, x, features, (1.0, 0.0))
            return rearrange(y, "b h w c -> (h w) (b c)")[cell].sum()

        return jax.grad(value)(features)

    for cell in (0, size + 3, size**2 - 1):
        seen = [
            np.flatnonzero(np.any(rearrange(g, "1 h w c -> (h w) c"), axis=1))
            for g in gradients(x, features, cell)
        ]
        starts = np.cumsum([0, *(f.shape[1] ** 2 for f in features)])
        seen = np.concatenate([s + i for s, i in zip(seen, starts[:-1], strict=True)])
        np.testing.assert_array_equal(seen, np.sort(index[cell]))


@pytest.mark.parametrize("attention", ["linear", "softmax"])
def test_retrieval_against_a_loop(attention):
    """NOTE(reference): linear attention has neither softmax nor 1/sqrt(d)."""
    draw = np.random.default_rng(0).standard_normal
    size, heads, d = 4, 2, 3
    query = draw((1, size, size, heads * d), np.float32)
    maps = [draw((1, s, s, 2 * heads * d), np.float32) for s in (2, 4, 8)]
    result = np.asarray(retrieve(query, maps, heads, attention))
    for y, x, e in np.ndindex(size, size, heads):
        channels = slice(e * d, (e + 1) * d)
        seen = []
        for kv in maps:
            s = kv.shape[1]
            rows = range(y * s // size, max((y + 1) * s // size, y * s // size + 1))
            columns = range(x * s // size, max((x + 1) * s // size, x * s // size + 1))
            seen += [kv[0, i, j] for i in rows for j in columns]
        keys, values = np.split(np.array(seen), 2, axis=1)
        weights = keys[:, channels] @ query[0, y, x, channels]
        if attention == "softmax":
            weights = np.exp(weights / np.sqrt(d))
            weights /= weights.sum()
        expected = weights @ values[:, channels]
        np.testing.assert_allclose(result[0, y, x, channels], expected, atol=1e-5)


@pytest.fixture(scope="module")
def small():
    """Two images, a small map, and parameters of which none is zero."""
    draw = np.random.default_rng(0).standard_normal
    x = draw((2, 4, 4, 8), np.float32)
    features = [draw((2, s, s, 4), np.float32) for s in (2, 8)]
    config = SmartConfig(num_heads=2, ffn_dim=6)
    like = jax.eval_shape(SmartBlock(config).init, jax.random.key(0), x, features)
    params = jax.tree.map(lambda a: draw(a.shape, np.float32), like["params"])
    return config, params, x, features


def test_beta(small):
    config, params, x, features = small
    run = refine(config)
    plain = run(params, x, features, (0.0, 0.0))
    np.testing.assert_allclose(plain, x + params["proj"]["bias"], rtol=1e-6)
    # One beta for each image, or two numbers in one array.
    each = run(params, x, features, (np.array([1.0, 0.0]), np.array([0.5, 0.0])))
    first = run(params, x, features, np.array([1.0, 0.5]))
    np.testing.assert_allclose(each[0], first[0], rtol=1e-5)
    np.testing.assert_allclose(each[1], plain[1], rtol=1e-5)


def test_dropout(small):
    config, params, x, features = small
    block = SmartBlock(config)

    @quick.jit
    def train(rng):
        return block.apply(
            {"params": params}, x, features, deterministic=False, rngs={"dropout": rng}
        )

    a, b, again = (train(jax.random.key(seed)) for seed in (0, 1, 0))
    np.testing.assert_array_equal(a, again)
    assert np.abs(a - b).max() > 1e-2


def test_starts_as_nothing(small):
    """Ours: at the start of a training the map is left as it is, and can learn."""
    config, _, x, features = small
    smart = Smart(dataclasses.replace(config, refined_layers=(2, 5)))

    @quick.jit
    def init(rng):
        both = (smart.init(rng, layer, x, features)["params"] for layer in (2, 5))
        return {name: block for params in both for name, block in params.items()}

    variables = init(jax.random.key(0))
    assert variables.keys() == {"layer_2", "layer_5"}

    @quick.jit
    def value_and_grad(params):
        def loss(params):
            y = smart.apply({"params": params}, 5, x, features)
            return jnp.sum(y**2), y

        return jax.grad(loss, has_aux=True)(params)

    gradient, y = value_and_grad(variables)
    np.testing.assert_array_equal(y, x)
    assert np.any(gradient["layer_5"]["proj"]["kernel"])
    assert not any(map(np.any, jax.tree.leaves(gradient["layer_2"])))


def test_parameter_count():
    """At 512 channels, as published."""
    x = jnp.zeros((1, 16, 16, 512))
    features = [
        jnp.zeros((1, s, s, c)) for s, c in ((8, 768), (8, 768), (16, 384), (32, 192))
    ]
    block = SmartBlock(SmartConfig())
    tree = jax.eval_shape(block.init, jax.random.key(0), x, features)
    count = sum(a.size for a in jax.tree.leaves(tree))
    prefix = "decoder.module.smart_block."
    assert count == recipe.num_parameters("styleprompter_256", prefix) == 3_742_208


def test_wrong_calls(small):
    config, params, x, features = small
    with pytest.raises(StylePrompterError, match="attention is 'cubic'"):
        SmartConfig(attention="cubic")
    with pytest.raises(StylePrompterError, match="multiple of the other"):
        retrieve(x, [np.zeros((2, 6, 6, 16))], 2)
    wrong = SmartBlock(dataclasses.replace(config, num_heads=3))
    with pytest.raises(StylePrompterError, match="3 heads"):
        wrong.apply({"params": params}, x, features)
