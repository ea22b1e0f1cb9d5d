"""How e4e is trained: ten steps beside PyTorch, and what they are made of."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from conftest import TINY, random_variables
from heads_training import CASES, Heads, differences

from styleprompter_jax.configs import tiny
from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.models.encoders.psp import PspConfig
from styleprompter_jax.models.inverter import StylePrompterConfig
from styleprompter_jax.store.model_folder import load_model, save_model
from styleprompter_jax.training.objectives.critic import exchange
from styleprompter_jax.training.optim.layers import by_layer
from styleprompter_jax.training.optim.ranger import ranger
from styleprompter_jax.training.run.checkpoint import Checkpoints
from styleprompter_jax.training.start import read_start, with_trunk


@pytest.fixture
def wide():
    """JAX's 64-bit mode."""
    jax.config.update("jax_enable_x64", True)
    yield
    jax.config.update("jax_enable_x64", False)


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_ten_steps_beside_pytorch_and_resumed(case, wide, tmp_path):
    """Losses, gradients, BatchNorm's means, discriminator and pools; on 8 devices."""
    heads, rows = Heads(case, tmp_path, devices=8), []
    with Checkpoints(tmp_path / "checkpoints", {}) as checkpoints:
        for row in heads.run():
            rows.append(row)
            if len(rows) == 6:
                checkpoints.save(6, heads.state, {})
        for name, error in differences(rows, heads, case):
            assert error < 1e-10, name
        whole = jax.tree.map(np.asarray, heads.state)
        heads.place(checkpoints.restore(whole)[1])
    assert list(heads.run(6)) == rows[6:]
    jax.tree.map(np.testing.assert_array_equal, heads.state, whole)
    heads.objective.export(jax.tree.map(np.float32, whole), tmp_path / "model")
    saved = load_model(tmp_path / "model")[1]["const"]["encoder"]
    means = jax.tree.map(np.float32, whole["const"]["encoder"])
    jax.tree.map(np.testing.assert_array_equal, saved, means)


@pytest.mark.slow
def test_passes_are_a_loop_where_that_is_fast(wide, tmp_path):
    """And one after another on a CPU, with the same results."""
    rows, loops = [], []
    for platform in ("cpu", "tpu"):
        (tmp_path / platform).mkdir()
        heads = Heads("train_restyle", tmp_path / platform, platform=platform)
        run = heads.run()
        rows.append([next(run), next(run)])
        loops.append(heads.program().count("stablehlo.while"))
    assert loops[0] < loops[1]
    for ours, theirs in zip(*rows, strict=True):
        assert ours == pytest.approx(theirs, rel=1e-9)


def test_a_trunk_starts_from_another_models(tmp_path):
    """Statistics too; the first convolution as far as it reads the same RGB."""
    config, sizes = tiny.get_config("psp"), {"widths": (4, 8, 12, 16)}
    sizes["blocks"] = (1, 1, 1, 1)  # those of the config
    encoder = PspConfig.for_generator(TINY.generator, 32, **sizes)
    model = StylePrompterConfig(encoder, None, TINY.generator)
    given = random_variables(model)
    folder = str(save_model(tmp_path / "given", model, given))
    config.init_from = config.init_trunk = folder
    trunk = read_start(config).trunk
    parts = {k: tree["encoder"] for k, tree in given.items()}
    fresh = {k: {"encoder": jax.tree.map(jnp.zeros_like, v)} for k, v in parts.items()}
    found = with_trunk(fresh, trunk)
    body = lambda tree, kind: tree[kind]["encoder"]["body_1"]  # noqa: E731
    for kind in ("params", "const"):
        jax.tree.map(
            np.testing.assert_array_equal, body(found, kind), body(given, kind)
        )
    assert not np.any(found["params"]["encoder"]["coarse"]["linear"]["kernel"])
    stem = given["params"]["encoder"]["input_layer_0"]["kernel"]
    fresh["params"]["encoder"]["input_layer_0"]["kernel"] = jnp.ones((3, 3, 6, 4))
    found = with_trunk(fresh, trunk)["params"]["encoder"]["input_layer_0"]["kernel"]
    np.testing.assert_array_equal(found[:, :, :3], stem)
    np.testing.assert_array_equal(found[:, :, 3:], 1)
    # An encoder in passes gives its first convolution's part for the image.
    encoder = dataclasses.replace(encoder, input_channels=6, passes=2)
    in_passes = StylePrompterConfig(encoder, None, TINY.generator)
    given = random_variables(in_passes)
    config.init_trunk = str(save_model(tmp_path / "in_passes", in_passes, given))
    found = read_start(config).trunk["input_layer_0/kernel"]
    six = given["params"]["encoder"]["input_layer_0"]["kernel"]
    np.testing.assert_array_equal(found, six[:, :, :3])
    # Label maps of six classes are not RGB.
    config.model.encoder.input_channels = 6
    config.data.input = "labels"
    config.init_trunk = folder
    assert "input_layer_0/kernel" not in read_start(config).trunk
    config.model.encoder.input_channels = 3
    config.model.encoder.widths = (4, 8, 12, 20)
    with pytest.raises(StylePrompterError, match="does not hold the trunk"):
        read_start(config)
    config = tiny.get_config("smart")
    config.init_from = folder
    with pytest.raises(StylePrompterError, match="no feature maps, which SMART reads"):
        read_start(config)


def test_a_trunk_of_swin(tiny_folder):
    """The layers that read the image; the latent tokens and the head are new."""
    config = tiny.get_config("encoder")
    config.model.encoder = {k: v for k, v in dataclasses.asdict(TINY.encoder).items()
                            if k not in TINY.encoder.derived}  # fmt: skip
    config.init_from = config.init_trunk = str(tiny_folder)
    given = load_model(tiny_folder)[1]["params"]["encoder"]
    fresh = {"params": {"encoder": jax.tree.map(jnp.zeros_like, given)}}
    found = with_trunk(fresh, read_start(config).trunk)["params"]["encoder"]
    new = {"latent_tok", "prediction_head", "dim_up_layers_0_0", "dim_up_layers_0_1"}
    assert new < found.keys()
    for name, layer in found.items():
        same = lambda a, b: np.array_equal(a, b)  # noqa: E731
        kept = jax.tree.leaves(jax.tree.map(same, layer, given[name]))
        assert all(kept) if name not in new else not any(kept), name


def test_pools():
    """A full pool gives an old code for a new one, also one of the same batch."""
    codes = jnp.arange(1.0, 7)[:, None]
    pool = {"codes": jnp.zeros((3, 1)), "count": jnp.int32(0)}
    swap, slot = jnp.array([1, 0, 0, 1, 1, 0], bool), jnp.array([2, 2, 2, 0, 0, 1])
    pool, seen = exchange(pool, codes, {"swap": swap, "slot": slot})
    assert seen[:, 0].tolist() == [1, 2, 3, 1, 4, 6]
    assert pool["codes"][:, 0].tolist() == [5, 2, 3] and pool["count"] == 3
    empty = {"codes": jnp.zeros((0, 1)), "count": jnp.int32(0)}
    assert exchange(empty, codes, {"swap": swap, "slot": slot})[1] is codes


def test_stacked_layers_are_optimised_as_if_apart():
    """And one that begins later as if the run began there."""
    rng = np.random.default_rng(0)
    draw = lambda *shape: jnp.asarray(rng.standard_normal(shape))  # noqa: E731
    params = {"own": {"kernel": draw(2, 3, 4)}, "rest": {"kernel": draw(3, 4)}}
    codes = {"own": np.array([0, 2])}
    optimizer = by_layer(ranger(optax.constant_schedule(0.1)), codes)
    alone = ranger(0.1)
    update_all, update_one = jax.jit(optimizer.update), jax.jit(alone.update)
    state, now = optimizer.init(params), params
    apart = [{"kernel": params["own"]["kernel"][k]} for k in (0, 1)]
    states = [alone.init(p) for p in apart]
    for step in range(9):
        grads = jax.tree.map(lambda p: draw(*p.shape), params)
        deltas = jnp.int32(0 if step < 2 else 2)
        updates, state = update_all(grads, state, now, deltas=deltas)
        now = optax.apply_updates(now, updates)
        for k in (0, 1) if step >= 2 else (0,):
            grad = {"kernel": grads["own"]["kernel"][k]}
            update, states[k] = update_one(grad, states[k], apart[k])
            apart[k] = optax.apply_updates(apart[k], update)
        for k in (0, 1):
            np.testing.assert_allclose(
                now["own"]["kernel"][k], apart[k]["kernel"], rtol=2e-5, atol=1e-6
            )
