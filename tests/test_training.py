"""Training: resuming, devices, workdirs, with the tiny config of each stage."""

import json
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from configs import tiny
from styleprompter_jax.errors import StylePrompterError
from styleprompter_jax.training import adversarial, loop, parallel
from styleprompter_jax.training.inversion import Inversion

pytestmark = pytest.mark.usefixtures("quick_compile")

STAGES = ("generator", "encoder", "smart")


def train(stage, workdir, init_from="", devices=1, **changes):
    config = tiny.get_config(stage)
    config.init_from = str(init_from)
    config.update(changes)
    return loop.train(config, workdir, devices=jax.devices()[:devices])


@pytest.fixture(scope="module")
def finished(tmp_path_factory, quick_compile):
    """A finished run of each stage: {stage: workdir}."""
    root, previous = tmp_path_factory.mktemp("finished"), ""
    for stage in STAGES:
        previous = train(stage, root / stage, previous)
    return {stage: root / stage for stage in STAGES}


def lines(workdir, split="train"):
    rows = [json.loads(s) for s in (workdir / "metrics.jsonl").read_text().splitlines()]
    return [row for row in rows if row["split"] == split]


def losses(workdir):
    return np.array([row["loss"] for row in lines(workdir)])


def start_of(stage, finished):
    previous = dict(zip(STAGES[1:], STAGES, strict=False)).get(stage)
    return finished[previous] / "model" if previous else ""


def final_state(workdir):
    """Every array of the newest checkpoint, by path."""
    import orbax.checkpoint as ocp

    folder = max((workdir / "checkpoints").iterdir(), key=lambda p: int(p.name))
    tree = ocp.StandardCheckpointer().restore((folder / "state").absolute())
    flat = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in flat}


@pytest.mark.slow
@pytest.mark.parametrize("stage", STAGES)
def test_resumed_equals_uninterrupted(stage, finished, tmp_path):
    start = start_of(stage, finished)
    stop_at(4, stage, tmp_path / "a", start)
    # What a run writes after its last checkpoint is written again by the next.
    with (tmp_path / "a" / "metrics.jsonl").open("a") as f:
        f.write('{"step": 7, "split": "train", "loss": 1.0}\n{"st')
    train(stage, tmp_path / "a", start)
    expected, found = final_state(finished[stage]), final_state(tmp_path / "a")
    assert expected.keys() == found.keys()
    for key, value in expected.items():
        np.testing.assert_array_equal(found[key], value, err_msg=key)
    np.testing.assert_array_equal(losses(tmp_path / "a"), losses(finished[stage]))


def stop_at(step, stage, workdir, start):
    """A run that SIGTERM reaches after ``step`` steps."""
    import signal

    advance = loop.Report.advance

    def signalling(report):
        advance(report)
        signalling.steps += 1
        if signalling.steps == step:
            signal.raise_signal(signal.SIGTERM)

    signalling.steps = 0
    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit):
        patch.setattr(loop.Report, "advance", signalling)
        train(stage, workdir, start)


@pytest.mark.slow
@pytest.mark.parametrize("stage", STAGES)
def test_eight_devices_train_as_one(stage, finished, tmp_path):
    start = start_of(stage, finished)
    train(stage, tmp_path, start, devices=8, total_steps=5)
    np.testing.assert_allclose(losses(tmp_path), losses(finished[stage])[:5], rtol=1e-5)


def test_mapped_step_equals_pmap():
    objective = adversarial.Adversarial(tiny.get_config())
    state = objective.init(jax.random.key(0))
    images = jax.random.uniform(jax.random.key(1), (8, 32, 32, 3), minval=-1)
    rng = jax.random.key(2)

    def step(state, batch, rng):
        return objective.step(state, batch, rng, variant=(True, False))

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


def test_r1_and_its_gradient_are_those_of_differentiating_twice():
    weights = jax.random.normal(jax.random.key(0), (12, 5))
    images = jax.random.normal(jax.random.key(1), (3, 2, 2, 3))

    def logits(weights, x):
        return jnp.sum(jnp.tanh(x.reshape(3, -1) @ weights), -1)

    def plain(weights):
        g = jax.grad(lambda x: jnp.sum(logits(weights, x)))(images)
        return jnp.mean(jnp.sum(g**2, (1, 2, 3)))

    def ours(weights):
        return adversarial.r1_penalty(lambda x: logits(weights, x), images)

    for a, b in zip(
        jax.value_and_grad(ours)(weights),
        jax.value_and_grad(plain)(weights),
        strict=True,
    ):
        # Entries near zero are differences of entries near one.
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


def test_a_run_leaves_what_the_documentation_says(finished):
    for stage, workdir in finished.items():
        names = {path.name for path in workdir.iterdir()}
        assert {"config.json", "metrics.jsonl", "samples", "checkpoints", "model"} <= (
            names
        )
        assert json.loads((workdir / "config.json").read_text())["stage"] == stage
        rows = lines(workdir)
        assert [row["step"] for row in rows] == list(range(1, 9))
        assert {"loss", "grad_norm", "images_per_sec"} <= rows[0].keys()
        assert lines(workdir, "validation")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(batch_size=6, devices=4), "multiple of 4"),
        (dict(learning_rate=2.0), "learning_rate"),
    ],
)
def test_wrong_configs_change_nothing(changes, message, finished):
    workdir = finished["generator"]
    before = {p: p.stat().st_mtime_ns for p in workdir.rglob("*")}
    with pytest.raises(StylePrompterError, match=message):
        train("generator", workdir, **changes)
    assert {p: p.stat().st_mtime_ns for p in workdir.rglob("*")} == before


def test_another_stage_in_the_workdir(finished):
    with pytest.raises(StylePrompterError, match="stage 'generator'"):
        train("encoder", finished["generator"], finished["generator"] / "model")


def test_no_start(tmp_path):
    with pytest.raises(StylePrompterError, match="init_from"):
        train("encoder", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_smart_needs_an_encoder(finished, tmp_path):
    with pytest.raises(StylePrompterError, match="no encoder"):
        train("smart", tmp_path / "run", finished["generator"] / "model")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--config=configs/tiny.py", "--config.loss.l3=1"], "--config.loss.l3=1"),
        (["--config=configs/tiny.py", "--config.batch_size=x"], "batch_size"),
        (["--config=configs/tiny.py:decoder"], "decoder"),
        (["--config=configs/none.py"], "configs/none.py"),
    ],
)
def test_wrong_calls_are_answered_in_one_line(arguments, message, tmp_path):
    root = Path(loop.__file__).parents[2]
    command = [sys.executable, "train.py", f"--workdir={tmp_path / 'run'}", *arguments]
    result = subprocess.run(command, cwd=root, capture_output=True, text=True)
    assert result.returncode == 1
    (line,) = result.stderr.splitlines()
    assert line.startswith("Error: ") and message in line
    assert not (tmp_path / "run").exists()


def test_an_encoder_to_go_on_from(tiny_folder, tiny_variables):
    """Such as one started from ImageNet; `styleprompter convert` makes its folder."""
    config = tiny.get_config("encoder")
    config.init_from, config.init_encoder = str(tiny_folder), True
    config.model.encoder.patch_size = 4
    state = Inversion(config).init(jax.random.key(0))
    jax.tree.map(
        np.testing.assert_array_equal,
        state["trained"],
        tiny_variables["params"]["encoder"],
    )
    config.model.encoder.head_dim = 32
    with pytest.raises(StylePrompterError, match="head_dim = 16, and the one to train"):
        Inversion(config)
