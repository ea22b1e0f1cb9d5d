"""Ranger against the published code, and the gradients that it centres."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import quick
import recipe
from einops import rearrange

from styleprompter_jax.configs import tiny
from styleprompter_jax.training.optim.optimizers import make_optimizer
from styleprompter_jax.training.optim.ranger import centralize, ranger

# Name in our trees, and the published layout as seen from ours.
TENSORS = {
    "matrix": ("kernel", "o i -> i o"),
    "bias": ("bias", "o -> o"),
    "conv": ("kernel", "o i h w -> h w i o"),
    "scalar": ("scale", "a -> a"),
}


def test_parity():
    expected = recipe.arrays("ranger")
    params = {
        key: {name: rearrange(expected[f"init_{key}"], layout)}
        for key, (name, layout) in TENSORS.items()
    }
    optimizer = ranger(float(expected["lr"]))
    state = optimizer.init(params)

    @jax.jit
    def step(params, state, noise):
        gradients = jax.tree.map(lambda n, p: n + 0.5 * p, noise, params)
        updates, state = optimizer.update(gradients, state, params)
        return optax.apply_updates(params, updates), state

    for t in range(int(expected["steps"])):
        noise = {}
        for k, (key, (name, layout)) in enumerate(TENSORS.items()):
            seed = expected["grad_seed"] + 10 * t + k
            draw = recipe.normal(seed, *expected[f"init_{key}"].shape)
            noise[key] = {name: rearrange(draw, layout)}
        params, state = step(params, state, noise)
        for key, (name, layout) in TENSORS.items():
            path = rearrange(expected[f"path_{key}"][t], layout)
            assert recipe.relative_error(params[key][name], path) < 1e-5, (key, t)


def test_what_is_centred(tiny_variables):
    """Each kind of array of the trained parts, by its name."""
    params = {k: tiny_variables["params"][k] for k in ("encoder", "smart")}

    def centred(**options):
        transform = centralize(**options)
        run = quick.jit(lambda params: transform.update(params, transform.init(params)))
        return run(params)[0]

    kinds = set()
    flat, _ = jax.tree_util.tree_flatten_with_path(params)
    for (path, before), after in zip(flat, jax.tree.leaves(centred()), strict=True):
        name = path[-1].key
        if before.ndim == 1:
            np.testing.assert_array_equal(after, before)
            continue
        kinds.add((name, before.ndim))
        axes = tuple(range(before.ndim - 1)) if name == "kernel" else (1,)
        np.testing.assert_allclose(np.mean(after, axes), 0, atol=1e-6)
        assert np.abs(after).max() > 0.01
    # No other array with two axes: each would need its own output axis.
    assert kinds == {("kernel", 2), ("kernel", 4), ("latent_tok", 2)}

    faithful = centred(logit_scale=True)["encoder"]["layers_0_blocks_0"]["attn"]
    np.testing.assert_array_equal(faithful["logit_scale"], 0)
    assert np.abs(faithful["q_bias"]).max() > 0


@pytest.mark.parametrize("switch", [False, True])
def test_from_a_config(switch):
    config = tiny.get_config("encoder")
    config.optimizer.name = "ranger"
    config.optimizer.centralize_logit_scale = switch
    config.optimizer.clip_norm = 0.5
    optimizer = make_optimizer(config)
    params = {"logit_scale": jnp.zeros(3), "bias": jnp.zeros(3)}
    gradients = jax.tree.map(lambda p: p + 4.0, params)
    run = quick.jit(lambda g, p: optimizer.update(g, optimizer.init(p), p)[0])
    updates = run(gradients, params)
    assert (np.abs(updates["logit_scale"]).max() == 0) == switch
    # The first step of RAdam is the clipped gradient itself.
    clipped = 0.5 / np.sqrt(6)
    np.testing.assert_allclose(updates["bias"], -config.learning_rate * clipped, 1e-5)


def test_accumulated_gradients_make_one_update():
    """That of their mean, with the learning rate of the steps that went by."""
    config = tiny.get_config("encoder")
    config.optimizer.update(clip_norm=0.0, warmup_steps=4)
    params = {"w": jnp.zeros(3)}
    gradients = [{"w": jnp.array([1.0, -2.0, 3.0]) * k} for k in (1, 3, 2, 4)]

    def updates(config, gradients):
        optimizer = make_optimizer(config)
        state, found = optimizer.init(params), []
        for gradient in gradients:
            update, state = optimizer.update(gradient, state, params)
            found.append(update["w"])
        return np.array(found)

    whole = updates(config, [{"w": 2 * g["w"]} for g in gradients[:1]] * 3)
    with config.unlocked():
        config.optimizer.accumulate = 2
    parts = updates(config, gradients)
    np.testing.assert_array_equal(parts[[0, 2]], 0)
    # The mean of the second pair is 1.5 times that of the first.
    np.testing.assert_allclose(parts[1], whole[0], atol=1e-9)
    assert np.abs(parts[3]).max() > 0
