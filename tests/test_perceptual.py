"""The fixed perceptual networks: parity with the published code, and their folders."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import quick
import recipe
from einops import rearrange

from styleprompter_jax.convert.table import write_table
from styleprompter_jax.convert.tables.layers import Beside, Layout
from styleprompter_jax.convert.tables.perceptual import (
    LAYOUTS,
    read_network,
    recognise,
    recognise_whole,
)
from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.models.perceptual import lpips
from styleprompter_jax.models.perceptual.arcface import ArcFace
from styleprompter_jax.models.perceptual.inception import Inception
from styleprompter_jax.models.perceptual.layers import cosine_distance, unit
from styleprompter_jax.models.perceptual.moco import MoCo
from styleprompter_jax.ops.pooling import adaptive_average_pool
from styleprompter_jax.store import network_folder
from styleprompter_jax.store.model_folder import MODEL, load_model

TRUNKS = ("alex", "vgg", "squeeze")


def load(name, case):
    """Parameters from the recipe of a published file, in which others are not found."""
    state = recipe.state_dict(case)
    assert recognise(state) == name
    return read_network(name, state)


def image_pair(expected, size):
    """The fixture's x and y as one batch of four."""
    shape = (2, 3, size, size)
    x = np.clip(0.5 * recipe.normal(expected["x_seed"], *shape), -1, 1)
    y = np.clip(x + 0.3 * recipe.normal(expected["noise_seed"], *shape), -1, 1)
    return rearrange(np.concatenate([x, y]), "b c h w -> b h w c")


def halves(features):
    """Features of x and of y."""
    x = jax.tree.map(lambda f: f[:2], features)
    return x, jax.tree.map(lambda f: f[2:], features)


@pytest.mark.parametrize("trunk", TRUNKS)
def test_lpips(trunk):
    case = f"lpips_{trunk}"
    expected = recipe.arrays(case)
    params = load(case, case)
    module = network_folder.NETWORKS[case].module
    run = quick.jit(lambda params, x: module.apply({"params": params}, x))
    x, y = halves(run(params, image_pair(expected, 64)))
    terms = [lpips.distance([a], [b]) for a, b in zip(x, y, strict=True)]
    assert recipe.relative_error(np.stack(terms), expected["terms"]) < 1e-5
    assert recipe.relative_error(lpips.distance(x, y), expected["per_image"]) < 1e-5


@pytest.mark.slow
def test_arcface():
    expected = recipe.arrays("id_loss")
    params = load("arcface", "ir_se50")

    @quick.jit
    def run(params, images):
        return [
            ArcFace(multi_level).apply({"params": params}, images)
            for multi_level in (False, True)
        ]

    single, multi = run(params, image_pair(expected, 256))
    x, y = halves(single)
    assert recipe.relative_error(x, expected["embedding_x"]) < 1e-5
    assert recipe.relative_error(y, expected["embedding_y"]) < 1e-5
    loss = jnp.mean(cosine_distance(x, y))
    assert recipe.relative_error(loss, expected["id_loss"]) < 1e-5
    terms = [jnp.mean(cosine_distance(*halves(level))) for level in multi]
    assert recipe.relative_error(np.stack(terms), expected["multi_terms"]) < 1e-5
    loss = jnp.mean(cosine_distance(*halves(multi)))
    assert recipe.relative_error(loss, expected["multi_loss"]) < 1e-5


@pytest.mark.slow
def test_moco():
    expected = recipe.arrays("moco_loss")
    params = load("moco", "moco_resnet50")
    run = quick.jit(lambda params, x: MoCo().apply({"params": params}, x))
    x, y = halves(run(params, image_pair(expected, 256)))
    assert recipe.relative_error(x, expected["features_x"]) < 1e-5
    assert recipe.relative_error(y, expected["features_y"]) < 1e-5
    # Theirs is 1 - a number near 1: seven digits of that one.
    loss = jnp.mean(cosine_distance(x, y))
    assert abs(loss - expected["loss"]) < 2e-7


@pytest.mark.slow
def test_inception():
    """Against pytorch-fid 0.3.0 on PyTorch 1.13.

    Its network was filled from inception.json in place of its file, and given x =
    clip(0.5 N(x_seed), -1, 1) of (2, 3, 80, 64) with normalize_input=False.
    """
    expected = recipe.arrays("inception")
    params = load("inception", "inception")
    x = np.clip(0.5 * recipe.normal(expected["x_seed"], 2, 3, 80, 64), -1, 1)
    run = quick.jit(lambda params, x: Inception().apply({"params": params}, x))
    features = run(params, rearrange(x, "b c h w -> b h w c"))
    assert recipe.relative_error(features, expected["features"]) < 1e-5


def test_gradients_are_finite_at_zero_features():
    """The published LPIPS answers NaN here, also behind a ReLU that is shut."""
    module = network_folder.NETWORKS["lpips_alex"].module
    params = zeros(network_folder.NETWORKS["lpips_alex"].shapes())["params"]
    params |= {f"lin{i}": np.ones_like(params[f"lin{i}"]) for i in range(5)}

    @quick.jit
    def gradient(params, x):
        def loss(x):
            a, b = (module.apply({"params": params}, y) for y in (x, -x))
            return jnp.sum(lpips.distance(a, b))

        return jax.grad(loss)(x)

    assert np.isfinite(gradient(params, np.ones((1, 32, 32, 3), np.float32))).all()
    gradient = jax.grad(lambda v: cosine_distance(unit(v), jnp.ones(3)))(jnp.zeros(3))
    assert np.isfinite(gradient).all()


def zeros(shapes):
    return jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)


def test_adaptive_average_pool():
    """Windows of 188 -> 112 and of 2 -> 3, which repeats, one by one."""
    rng = np.random.default_rng(0)
    for n, size in ((188, 112), (2, 3), (6, 6)):
        x = rng.standard_normal((1, n, n, 1), np.float32)
        windows = [
            slice(int(np.floor(i * n / size)), int(np.ceil((i + 1) * n / size)))
            for i in range(size)
        ]
        expected = [[x[0, y, z, 0].mean() for z in windows] for y in windows]
        found = adaptive_average_pool(jnp.asarray(x), size)[0, ..., 0]
        np.testing.assert_allclose(found, expected, atol=1e-6)


def published_state(name):
    """Zeros under the keys of a published file."""
    params = zeros(network_folder.NETWORKS[name].shapes()["params"])
    return write_table(LAYOUTS[name].table, params)


@pytest.mark.parametrize(
    ("name", "others"),
    [
        ("lpips_alex", ["classifier.1.weight", "classifier.6.bias"]),
        ("lpips_squeeze", ["classifier.1.weight", "classifier.1.bias"]),
        (
            "moco",
            [
                "module.encoder_q.fc.0.weight",
                "module.encoder_q.fc.bias",
                "module.encoder_k.layer1.0.downsample.1.running_var",
                "module.encoder_k.bn1.num_batches_tracked",
                "module.encoder_k.fc.2.bias",
                "module.queue",
                "module.queue_ptr",
            ],
        ),
    ],
)
def test_published_files_hold_more(name, others):
    state = published_state(name)
    more = state | dict.fromkeys(others, np.zeros(2, np.float32))
    assert recognise(more) == name
    read_network(name, more)
    with pytest.raises(StylePrompterError, match=r"unexpected \(1\):\n    surplus "):
        read_network(name, more | {"surplus": np.zeros(2, np.float32)})


def test_lpips_without_its_heads():
    """torchvision's file alone is recognised; the message names the missing part."""
    state = published_state("lpips_alex")
    trunk = {key: a for key, a in state.items() if key.startswith("features.")}
    assert recognise(trunk) == "lpips_alex"
    with pytest.raises(StylePrompterError, match=r"lin4\.model\.1\.weight"):
        read_network("lpips_alex", trunk)
    assert recognise(["lin0.model.1.weight", "conv1.weight"]) is None


def test_a_network_of_more_keys_wins(monkeypatch):
    """A network on the trunk of another, with heads of its own, is told from it."""
    other = Beside("alpha", "weights", "DISTS", "its file", "torchvision's file")
    signature = LAYOUTS["lpips_vgg"].signature
    monkeypatch.setitem(LAYOUTS, "dists", Layout((), signature, other))
    assert recognise([*signature, "alpha"]) == "dists"
    assert recognise([*signature, "lin0.model.1.weight"]) == "lpips_vgg"
    for keys, match in (
        (["alpha"], "file: the weights of DISTS without their network"),
        (
            signature,
            r"file: LPIPS on VGG-16 without its heads: also give .*lpips package",
        ),
    ):
        with pytest.raises(StylePrompterError, match=match):
            recognise_whole(keys, "file")


def test_folder_there_and_back(tmp_path):
    rng = np.random.default_rng(0)
    shapes = network_folder.NETWORKS["lpips_squeeze"].shapes()["params"]
    params = jax.tree.map(lambda p: rng.standard_normal(p.shape, np.float32), shapes)
    folder = network_folder.save_network(tmp_path / "lpips", "lpips_squeeze", params)
    module, variables = network_folder.load_network(folder, "lpips")
    assert module == network_folder.NETWORKS["lpips_squeeze"].module
    jax.tree.map(np.testing.assert_array_equal, variables, {"params": params})

    with pytest.raises(StylePrompterError, match="SqueezeNet, but must contain MoCo"):
        network_folder.load_network(folder, "moco")
    with pytest.raises(StylePrompterError, match="does not describe a model"):
        load_model(folder)
    data = bytearray((folder / MODEL).read_bytes())
    data[-1] ^= 1
    (folder / MODEL).write_bytes(data)
    with pytest.raises(StylePrompterError, match="damaged"):
        network_folder.load_network(folder, "lpips")


def test_folders_that_are_no_network(tiny_folder, tmp_path):
    with pytest.raises(StylePrompterError, match="styleprompter convert FILE"):
        network_folder.load_network(tmp_path / "none", "arcface")
    with pytest.raises(StylePrompterError, match="another model, but must"):
        network_folder.load_network(tiny_folder, "lpips")
    params = zeros(network_folder.NETWORKS["lpips_squeeze"].shapes()["params"])
    before = (tiny_folder / MODEL).read_bytes()
    with pytest.raises(StylePrompterError, match="contains a model"):
        network_folder.save_network(tiny_folder, "lpips_squeeze", params)
    assert (tiny_folder / MODEL).read_bytes() == before
    with pytest.raises(StylePrompterError, match=r"missing .*\n.*lin0"):
        del params["lin0"]
        network_folder.save_network(tmp_path / "new", "lpips_squeeze", params)
    assert not (tmp_path / "new").exists()
