"""The encoder: parity with the published code, and our deliberate differences."""

import dataclasses
import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import quick
import recipe
import reference
from einops import rearrange
from scipy import special

from styleprompter_jax.convert.table import Buffer, read_table
from styleprompter_jax.convert.tables.swin import encoder_config, encoder_table
from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.models.encoders.swin import SwinBlock, SwinConfig, SwinEncoder

SMALL = SwinConfig(
    image_size=64,
    embed_dim=24,
    depths=(2, 2, 2, 2),
    window_size=4,
    num_tokens=10,
    head_dim=64,
    w_dim=32,
)
TINY = SwinConfig(
    image_size=16,
    patch_size=2,
    embed_dim=8,
    depths=(2,),
    num_heads=(2,),
    window_size=4,
    num_tokens=3,
    head_dim=8,
    w_dim=8,
    drop_path=0.5,
)
BLOCK = dataclasses.replace(TINY, depths=(1,))


def shapes(config):
    """The encoder's parameters, as shapes."""
    images = jax.ShapeDtypeStruct((1, config.image_size, config.image_size, 3), "f4")
    return jax.eval_shape(SwinEncoder(config).init, jax.random.key(0), images)["params"]


def random_params(tree, seed=0):
    """Parameters in which every part makes a difference."""
    draw = np.random.default_rng(seed).standard_normal

    def leaf(path, x):
        name = path[-1].key
        fan_in = np.prod(x.shape[:-1]) if name == "kernel" else 4
        offset = name in ("scale", "logit_scale")
        return offset + draw(x.shape, np.float32) / np.float32(np.sqrt(fan_in))

    return jax.tree_util.tree_map_with_path(leaf, tree)


@functools.cache
def encode(config):
    """The encoder, compiled once a config and a shape."""
    encoder = SwinEncoder(config)
    return quick.jit(lambda params, images: encoder.apply({"params": params}, images))


@pytest.fixture(scope="module")
def tiny():
    images = np.random.default_rng(1).uniform(-1, 1, (3, 16, 16, 3))
    return random_params(shapes(TINY)), images.astype(np.float32)


@pytest.fixture(scope="module")
def small():
    """Fixture, parameters and images of the small case."""
    expected = recipe.arrays("swin_small")
    state = recipe.state_dict("swin_small")
    images = rearrange(expected["images"], "b c h w -> b h w c")
    return expected, read_table(encoder_table(SMALL), state, shapes(SMALL)), images


def check_features(features, expected, every=()):
    """``every`` tells which part of the cells the fixture holds, by map."""
    for i, feature in enumerate(features):
        cells = rearrange(np.asarray(feature), "b h w c -> b (h w) c")
        step = every[i] if every else 1
        error = recipe.relative_error(cells[:, ::step], expected[f"features_{i}"])
        assert error < 1e-4, i


def test_small_parity(small):
    """The fixture holds each image alone; here they are one batch."""
    expected, params, images = small
    codes, features = encode(SMALL)(params, images)
    assert [f.shape for f in features] == [
        (3, 2, 2, 192),
        (3, 2, 2, 192),
        (3, 4, 4, 96),
        (3, 8, 8, 48),
    ]
    assert recipe.relative_error(codes, expected["codes"]) < 1e-4
    check_features(features, expected)


def test_small_in_float64(small):
    """The whole encoder against plain NumPy, which is held to the fixture's float32."""
    expected, params, images = small
    with quick.float64():
        wide = jax.tree.map(lambda a: np.asarray(a, np.float64), (params, images))
        codes, features = encode(SMALL)(*wide)
        assert codes.dtype == np.float64
    for b, image in enumerate(wide[1]):
        plain, maps = reference.swin_encoder(wide[0], image, SMALL)
        assert recipe.relative_error(plain, expected["codes"][b]) < 1e-4
        assert recipe.relative_error(codes[b], plain) < 1e-8
        for feature, plain in zip(features, maps, strict=True):
            assert recipe.relative_error(feature[b], plain) < 1e-8


def test_batch_order_changes_nothing(small):
    """To the bit; JAX 0.7.2 rounds products by where their rows lie."""
    bound = 0 if jax.__version_info__ >= (0, 8, 2) else 1e-5
    _, params, images = small
    codes, features = encode(SMALL)(params, images)
    order = np.array([2, 0, 0])
    other_codes, other_features = encode(SMALL)(params, images[order])
    pairs = zip([other_codes, *other_features], [codes, *features], strict=True)
    for other, one in pairs:
        assert recipe.relative_error(other, one[order]) <= bound


def test_image_alone(tiny):
    params, images = tiny
    together, _ = encode(TINY)(params, images)
    alone, _ = encode(TINY)(params, images[:1])
    assert recipe.relative_error(alone, together[:1]) < 1e-6


def test_full_parity():
    """SwinV2-T, 256 px, 18 tokens."""
    config = SwinConfig()
    expected = recipe.arrays("swin")
    state = recipe.state_dict("swin")
    params = read_table(encoder_table(config), state, shapes(config))
    images = recipe.normal(expected["images_seed"], 1, 3, 256, 256)
    codes, features = encode(config)(params, rearrange(images, "b c h w -> b h w c"))
    assert recipe.relative_error(codes, expected["codes"]) < 1e-4
    check_features(features, expected, every=(1, 1, 4, 4))


@pytest.mark.parametrize(("size", "shift"), [(4, 0), (8, 2)])
def test_block_in_float64(size, shift):
    """One block against plain NumPy, image by image."""
    block = SwinBlock(num_heads=2, window=4, shift=shift)
    draw = np.random.default_rng(2).standard_normal
    x, tokens = draw((2, size, size, 6)), draw((2, 3, 6))
    with quick.float64():
        like = jax.eval_shape(block.init, jax.random.key(0), x, tokens)["params"]
        params = jax.tree.map(lambda a: a.astype(np.float64), random_params(like))
        y, t = quick.jit(lambda *a: block.apply({"params": a[0]}, *a[1:]))(
            params, x, tokens
        )
        for b in range(2):
            expected = reference.swin_block(params, x[b], tokens[b], 2, 4, shift)
            assert recipe.relative_error(y[b], expected[0]) < 1e-10
            assert recipe.relative_error(t[b], expected[1]) < 1e-10


def test_tokens_with_mlp_and_averaged():
    """An option of ours; and sums over windows, as published, equal averages."""
    draw = np.random.default_rng(2).standard_normal
    x, tokens = draw((2, 8, 8, 6)), draw((2, 3, 6))

    def block(token_mlp):
        return SwinBlock(num_heads=2, window=4, shift=0, token_mlp=token_mlp)

    def averaging(run, args, kwargs, context):
        if context.module.name != "norm1":
            return run(*args, **kwargs)
        windows = np.where(np.arange(67) < 64, 1, 4)[:, None]  # 4 windows of 16 cells
        return run(args[0] / windows)

    with quick.float64():
        like = jax.eval_shape(block(False).init, jax.random.key(0), x, tokens)["params"]
        params = jax.tree.map(lambda a: a.astype(np.float64), random_params(like))

        @quick.jit
        def run(params):
            given = {"params": params}, x, tokens
            plain, more = (block(some).apply(*given) for some in (False, True))
            with nn.intercept_methods(averaging):
                return plain, more, block(False).apply(*given)

        (y, t), (same, more), (_, averaged) = run(params)
        np.testing.assert_array_equal(y, same)
        hidden = reference.dense(t, params["mlp"]["fc1"])
        hidden *= (1 + special.erf(hidden / np.sqrt(2))) / 2
        hidden = reference.dense(hidden, params["mlp"]["fc2"])
        expected = t + reference.norm(hidden, params["norm2"])
        assert recipe.relative_error(more, expected) < 1e-10
    # The norm after the sum removes the factor, but for its epsilon.
    assert 0 < recipe.relative_error(averaged, t) < 1e-4


def test_gradient(tiny):
    """Finite, and the same with recomputed blocks; every parameter has one."""
    params, images = random_params(shapes(BLOCK)), tiny[1]

    def gradient(config):
        encoder = SwinEncoder(config)

        def loss(params):
            codes, features = encoder.apply({"params": params}, images)
            return jnp.mean(codes**2) + sum(jnp.mean(f**2) for f in features)

        return quick.jit(jax.grad(loss))(params)

    plain = gradient(BLOCK)
    assert all(np.isfinite(g).all() and np.any(g) for g in jax.tree.leaves(plain))
    remat = gradient(dataclasses.replace(BLOCK, remat=True))
    for a, b in zip(jax.tree.leaves(remat), jax.tree.leaves(plain), strict=True):
        assert recipe.relative_error(a, b) < 1e-4


def test_drop_path(tiny):
    params, images = tiny
    encoder = SwinEncoder(TINY)

    @quick.jit
    def train(rng):
        return encoder.apply(
            {"params": params}, images, deterministic=False, rngs={"drop_path": rng}
        )[0]

    a, b, again = (train(jax.random.key(seed)) for seed in (0, 1, 0))
    np.testing.assert_array_equal(a, again)
    assert np.abs(a - b).max() > 1e-3


def test_bfloat16(tiny):
    params, images = tiny
    codes, _ = encode(TINY)(params, images)
    encoder = SwinEncoder(TINY, dtype=jnp.bfloat16)
    half, half_features = quick.jit(encoder.apply)({"params": params}, images)
    assert half.dtype == half_features[0].dtype == jnp.bfloat16
    assert recipe.relative_error(half.astype(np.float32), codes) < 0.1


def test_starts_near_the_mean_code(tiny):
    """With norms that start at zero, the blocks start as nothing."""
    encoder = SwinEncoder(BLOCK)
    run = quick.jit(lambda x: encoder.init_with_output(jax.random.key(0), x)[0])
    codes, _ = run(tiny[1])
    np.testing.assert_array_equal(codes, np.broadcast_to(codes[:1], codes.shape))
    assert np.abs(codes).max() < 0.1


def count(tree):
    return sum(x.size for x in jax.tree.leaves(tree))


def test_parameter_counts():
    tiny = recipe.num_parameters("swin")
    assert count(shapes(SwinConfig.variant("tiny"))) == tiny == 30_331_306
    # "small" has twelve blocks more in its third stage.
    small = tiny + 12 * recipe.num_parameters("swin", "layers.2.blocks.0.")
    assert count(shapes(SwinConfig.variant("small"))) == small
    assert count(shapes(SwinConfig.variant("base", num_tokens=14))) == 90_211_064


def test_wrong_configs():
    for change, message in (
        (dict(image_size=250), "a multiple of 32"),
        (dict(image_size=224), "windows of 16"),
        (dict(depths=(2, 2)), "num_heads"),
        (dict(num_heads=(5, 6, 12, 24)), "5 num_heads"),
    ):
        with pytest.raises(StylePrompterError, match=message):
            SwinConfig(**change)
    with pytest.raises(StylePrompterError, match="tiny, small, base"):
        SwinConfig.variant("huge")
    with pytest.raises(StylePrompterError, match="resize"):
        jax.eval_shape(
            SwinEncoder(TINY).init, jax.random.key(0), np.zeros((1, 64, 64, 3))
        )


@pytest.mark.parametrize(
    "config",
    [
        SwinConfig(),
        SwinConfig.variant("base", num_tokens=14),
        SwinConfig.variant("small", window_size=8),
        SwinConfig(image_size=384, window_size=24),
        SwinConfig(image_size=64),  # one window everywhere
        SMALL,
        TINY,
    ],
)
def test_sizes_told_by_a_file(config):
    """From shapes alone: of the masks and tables, and of a few weights."""
    arrays = {
        row.source: row.value
        for row in encoder_table(config)
        if isinstance(row, Buffer)
    }
    dim, head = config.embed_dim, "prediction_head.layers"
    arrays |= {
        "latent_tok": np.zeros((config.num_tokens, dim)),
        "patch_embed.proj.weight": np.zeros((dim, 3, *[config.patch_size] * 2)),
        f"{head}.0.weight": np.zeros((config.head_dim, 1)),
        f"{head}.2.bias": np.zeros(config.w_dim),
        "layers.0.blocks.0.mlp.fc1.weight": np.zeros((config.mlp_ratio * dim, dim)),
    }
    for i, heads in enumerate(config.num_heads):
        arrays[f"layers.{i}.blocks.0.attn.logit_scale"] = np.zeros((heads, 1, 1))
    found = encoder_config(arrays)
    assert found.map_sizes == config.map_sizes
    # The window of a map is all that can be told, where no map is larger.
    window = min(config.window_size, config.map_sizes[0])
    told = dataclasses.replace(config, window_size=window, drop_path=0.1)
    assert found == told
