"""One step on several devices."""

import os
import socket
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from styleprompter_jax.configs import tiny
from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.training.objectives import adversarial
from styleprompter_jax.training.run import health, parallel


def test_mapped_step_equals_pmap():
    objective = adversarial.Adversarial(tiny.get_config())
    state = objective.init(jax.random.key(0))
    images = jax.random.uniform(jax.random.key(1), (8, 32, 32, 3), minval=-1)
    rng = jax.random.key(2)

    def step(state, batch, rng):
        return objective.step(state, batch, rng, variant=(False, False))

    mesh = parallel.make_mesh()
    copy = jax.tree.map(jnp.array, state)
    ours = parallel.map_step(step, mesh)(
        parallel.replicate(copy, mesh),
        parallel.shard_batch({"image": images}, mesh),
        rng,
    )
    theirs = jax.pmap(step, axis_name=parallel.AXIS, in_axes=(None, 0, None))(
        state, {"image": images.reshape(8, 1, 32, 32, 3)}, rng
    )
    theirs = jax.tree.map(lambda x: x[0], theirs)
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_a_mean_over_devices_is_taken_once():
    mesh = parallel.make_mesh()

    def step(state, batch, rng):
        loss, grad = jax.value_and_grad(lambda w: jnp.mean(w * batch))(state)
        return state - lax.pmean(grad, parallel.AXIS), lax.pmean(loss, parallel.AXIS)

    batch = jnp.arange(16.0)
    state, loss = parallel.map_step(step, mesh)(
        parallel.replicate(jnp.array(2.0), mesh),
        parallel.shard_batch(batch, mesh),
        jax.random.key(0),
    )
    assert (float(state), float(loss)) == (2.0 - 7.5, 15.0)


@pytest.mark.parametrize("skip", [False, True])
def test_a_step_that_is_not_finite(skip):
    """On two devices, one of which sees NaN: the update is left out on both."""
    mesh = parallel.make_mesh(jax.devices()[:2])

    def step(state, batch, rng):
        mean = lax.pmean(jnp.mean(batch), parallel.AXIS)
        return state | {"w": state["w"] + mean}, {"loss": mean}

    update = parallel.map_step(health.guard(step, skip), mesh)
    state = parallel.replicate({"w": jnp.zeros(3), "frozen": jnp.ones(2)}, mesh)
    monitor = health.Health(skip)
    for value in (1.0, jnp.nan, 2.0):
        batch = parallel.shard_batch(jnp.array([0.0, value]), mesh)
        state, metrics = update(state, batch, jax.random.key(0))
        monitor.add(metrics["finite"])
    if skip:
        np.testing.assert_array_equal(state["w"], np.full(3, 1.5))
        assert monitor.check(3, str) == {"skipped_steps": 1}
        assert monitor.check(3, str) == {"skipped_steps": 0}
        for _ in range(health.IN_A_ROW):
            monitor.add(jnp.array(False))
        with pytest.raises(StylePrompterError, match="20 steps in a row"):
            monitor.check(23, str)
    else:
        with pytest.raises(StylePrompterError, match="by step 3: lower"):
            monitor.check(3, str)


def test_processes_begin_with_one_step():
    with socket.socket() as free:
        free.bind(("localhost", 0))
        place = f"localhost:{free.getsockname()[1]}"
    program = (
        "import sys; from styleprompter_jax.training.run import parallel\n"
        "k = int(sys.argv[2]); parallel.join_hosts(sys.argv[1], 2, k)\n"
        "parallel.check_step(2**31 - 1)\n"
        "parallel.check_step(3 + k)"
    )
    command = [sys.executable, "-c", program, place]
    processes = [
        subprocess.Popen(
            [*command, str(k)],
            env=os.environ | {"JAX_PLATFORMS": "cpu"},
            stderr=subprocess.PIPE,
            text=True,
        )
        for k in range(2)
    ]
    for process in processes:
        _, error = process.communicate(timeout=300)
        assert "StylePrompterError: The processes begin with the steps 3, 4" in error
