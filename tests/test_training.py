"""Training: resuming, devices, workdirs, with the tiny config of each stage."""

import contextlib
import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import disk_full_after
from test_checkpoint import ORBAX_GIVES_UP
from test_processes import started

from styleprompter_jax.configs import tiny
from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.images.files import write_image
from styleprompter_jax.training import loop
from styleprompter_jax.training.objectives import adversarial, inversion
from styleprompter_jax.training.run import parallel
from styleprompter_jax.training.run import workdir as folders
from styleprompter_jax.training.run.hardware import peak_flops

STAGES = ("generator", "encoder", "smart")


def train(stage, workdir, init_from="", devices=1, **changes):
    config = tiny.get_config(stage)
    config.init_from = str(init_from)
    config.update(changes)
    return loop.train(config, workdir, devices=jax.devices()[:devices])


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished run of each stage: {stage: workdir}."""
    root, previous = tmp_path_factory.mktemp("finished"), ""
    for stage in STAGES:
        previous = train(stage, root / stage, previous)
    return {stage: root / stage for stage in STAGES}


def lines(workdir, split="train"):
    file = workdir / "metrics.jsonl"
    text = file.read_text() if file.exists() else ""
    rows = [json.loads(line) for line in text.splitlines()]
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
    """Stopped after the first step, amid an epoch, and at its edge (48 images).

    Where in the images a run goes on is no matter of its stage: one has all three.
    """
    start = start_of(stage, finished)
    for step in (1, 4, 6) if stage == "encoder" else (3,):
        stop_at(step, stage, tmp_path, start)
        # The next run writes the lines after the last checkpoint again.
        with (tmp_path / "metrics.jsonl").open("a") as f:
            f.write('{"step": 7, "split": "train", "loss": 1.0}\n{"st')
    train(stage, tmp_path, start)
    expected, found = final_state(finished[stage]), final_state(tmp_path)
    assert expected.keys() == found.keys()
    for key, value in expected.items():
        np.testing.assert_array_equal(found[key], value, err_msg=key)
    np.testing.assert_array_equal(losses(tmp_path), losses(finished[stage]))
    assert lines(tmp_path, "validation") == lines(finished[stage], "validation")
    assert best_of(tmp_path) == best_of(finished[stage])


def best_of(workdir):
    return json.loads((workdir / "model_best" / "validation.json").read_text())


def stop_at(step, stage, workdir, start):
    """A run that SIGTERM reaches at the end of this step."""

    def is_reached(report, *_):
        return report._bar.n == step

    with signal_in(loop.Report, "advance", is_reached), pytest.raises(SystemExit):
        train(stage, workdir, start)
    assert newest_step(workdir) == step


def newest_step(workdir):
    return max(int(p.name) for p in (workdir / "checkpoints").iterdir())


@contextlib.contextmanager
def signal_in(owner, name, when=lambda *_: True, number=signal.SIGTERM):
    """SIGTERM from within a function, at its end."""
    function = getattr(owner, name)

    def signalling(*args, **kwargs):
        result = function(*args, **kwargs)
        if when(*args):
            signal.raise_signal(number)
        return result

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(owner, name, signalling)
        yield


@pytest.mark.slow
@pytest.mark.parametrize(
    ("phase", "owner", "name", "saved"),
    [
        ("making the first state", inversion.Inversion, "init", 0),
        ("compiling", parallel, "map_step", 1),
        ("evaluating", inversion.Inversion, "_load_held_out", 4),
        ("saving", loop.Checkpoints, "save", 4),
    ],
)
def test_a_signal_in_any_phase_is_saved_within_a_step(
    phase, owner, name, saved, finished, tmp_path, caplog
):
    start = start_of("encoder", finished)
    with signal_in(owner, name, number=signal.SIGINT), pytest.raises(SystemExit):
        train("encoder", tmp_path, start)
    assert newest_step(tmp_path) == saved
    # An evaluation that was broken off is made when the run goes on.
    assert not lines(tmp_path, "validation")
    for end in (5, 4):
        train("encoder", tmp_path, start, total_steps=end)
        assert [row["step"] for row in lines(tmp_path, "validation")] == [4, 5]
        assert ("beyond config.total_steps" in caplog.text) == (end == 4)


@pytest.mark.slow
@pytest.mark.parametrize("stage", STAGES)
def test_eight_devices_train_as_one(stage, finished, tmp_path):
    train(stage, tmp_path, start_of(stage, finished), devices=8)
    found, expected = losses(tmp_path), losses(finished[stage])
    np.testing.assert_allclose(found[:5], expected[:5], rtol=1e-5)
    # Adam's first steps without momentum are full ones: rounding grows faster.
    later = 1e-4 if stage == "generator" else 1e-5
    np.testing.assert_allclose(found[5:], expected[5:], rtol=later)


@pytest.mark.slow
def test_after_eight_devices_two_and_one_go_on(finished, tmp_path):
    """In one stage: how many devices a state comes from is no matter of its stage."""
    start, expected = start_of("encoder", finished), losses(finished["encoder"])
    train("encoder", tmp_path / "2", start, devices=8, total_steps=5)
    shutil.copytree(tmp_path / "2", tmp_path / "1")
    for n in (2, 1):
        train("encoder", tmp_path / f"{n}", start, devices=n)
        np.testing.assert_allclose(losses(tmp_path / f"{n}"), expected, rtol=1e-5)


@pytest.mark.slow
def test_two_processes_of_two_devices_train_as_one(finished, tmp_path):
    processes = started(
        tmp_path / "two",
        "configs/tiny.py:encoder",
        f"--config.init_from={start_of('encoder', finished)}",
        "--config.total_steps=4",
        devices=2,
    )
    for process in processes:
        output, _ = process.communicate(timeout=900)
        assert process.returncode == 0, output
    expected = losses(finished["encoder"])[:4]
    np.testing.assert_allclose(losses(tmp_path / "two"), expected, rtol=1e-5)
    assert newest_step(tmp_path / "two") == 4
    assert (tmp_path / "two" / "model_best").exists()


def test_speed_is_logged(tmp_path):
    with loop.Report(
        tmp_path, step=3, evaluate=False, total_steps=9, batch_size=4, peak_flops=1e9
    ) as report:
        for _ in range(2):
            report.advance(1e6)
        report.scalars(5, {"loss": 1.0})
    (row,) = lines(tmp_path)
    assert row["images_per_sec"] * row["seconds_per_step"] == pytest.approx(4)
    used = 1e6 / 1e9 / row["seconds_per_step"]
    assert row["model_flop_utilisation"] == pytest.approx(used)
    assert peak_flops("TPU v5 lite") == 197e12 and peak_flops("cpu") is None


def test_one_training_at_a_time(finished, tmp_path):
    workdir = finished["generator"]
    with folders.lock(workdir):
        before = {p: p.stat().st_mtime_ns for p in workdir.rglob("*")}
        with pytest.raises(StylePrompterError, match="Another training"):
            train("generator", workdir)
        assert {p: p.stat().st_mtime_ns for p in workdir.rglob("*")} == before


def test_the_lock_of_a_killed_process_is_gone(tmp_path):
    code = (
        "import os, pathlib, signal\n"
        "from styleprompter_jax.training.run.workdir import lock\n"
        f"with lock(pathlib.Path({str(tmp_path)!r})):\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    root = Path(loop.__file__).parents[2]
    result = subprocess.run([sys.executable, "-c", code], cwd=root)
    assert result.returncode == -signal.SIGKILL
    with folders.lock(tmp_path):
        pass


@pytest.mark.slow
def test_losses_that_are_not_finite(finished, tmp_path):
    start = start_of("encoder", finished)
    # The first update is finite, and the loss after it overflows.
    changes = dict(learning_rate=1e38, checkpoint_every=1)
    with pytest.raises(StylePrompterError, match=r"by step 2: .*Step 1 is saved"):
        train("encoder", tmp_path / "stop", start, **changes)
    assert newest_step(tmp_path / "stop") == 1
    # The same run may resume with the other setting.
    changes |= dict(on_nan="skip", total_steps=4)
    with pytest.raises(StylePrompterError, match=r"step 4, .*learning_rate"):
        train("encoder", tmp_path / "stop", start, **changes)
    skipped = [row.get("skipped_steps") for row in lines(tmp_path / "stop")]
    assert skipped == [None, 1, 1, 1]
    state = final_state(tmp_path / "stop")
    assert all(np.isfinite(leaf).all() for leaf in state.values())


def test_the_best_model_is_never_replaced_by_a_worse_one(tmp_path):
    def offer(step, score, content):
        def export(folder):
            folder.mkdir()
            (folder / "weights").write_text(content)

        folders.BestModel(tmp_path).offer(step, "mse", score, export)

    for step, score, content in [(1, 2.0, "a"), (2, 3.0, "b"), (3, np.nan, "c")]:
        offer(step, score, content)
    assert best_of(tmp_path) == {"step": 1, "metric": "mse", "score": 2.0}
    offer(4, 1.0, "d")
    # Killed between the two renames of an exchange.
    (tmp_path / "model_best").rename(tmp_path / ".model_best.old")
    offer(5, 1.5, "e")
    assert (tmp_path / "model_best" / "weights").read_text() == "d"
    assert [p.name for p in tmp_path.iterdir()] == ["model_best"]


@pytest.mark.slow
@pytest.mark.filterwarnings(ORBAX_GIVES_UP)
def test_a_full_disk_is_one_sentence_and_the_run_goes_on_later(finished, tmp_path):
    start = start_of("encoder", finished)
    stop_at(2, "encoder", tmp_path, start)
    with disk_full_after(20_000), pytest.raises(StylePrompterError, match="cannot be"):
        train("encoder", tmp_path, start)
    train("encoder", tmp_path, start)
    np.testing.assert_array_equal(losses(tmp_path), losses(finished["encoder"]))


@pytest.mark.slow
def test_pictures_may_move_and_must_be_the_same(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    for k in range(16):
        pixels = np.full((32, 32, 3), k, np.uint8)
        write_image(pixels, tmp_path / "a" / f"{k % 2}" / f"{k}.png")
    data = tiny.get_config("generator").data

    def go(path):
        data.update(name="folder", path=path, train_split="0", eval_split="1")
        return train("generator", "~/run", total_steps=1, data=data)

    assert go("~/a") == tmp_path / "run" / "model"
    (tmp_path / "a").rename(tmp_path / "b")
    go(str(tmp_path / "b"))
    assert newest_step(tmp_path / "run") == 1
    (tmp_path / "b" / "0" / "2.png").rename(tmp_path / "b" / "0" / "3.png")
    with pytest.raises(StylePrompterError, match="but the names differ"):
        go("b")
    assert not (tmp_path / "~").exists()


@pytest.mark.parametrize("place", ["file", "file/below"])
def test_a_workdir_that_cannot_be_made(place, tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(StylePrompterError, match="--workdir"):
        train("generator", tmp_path / place)
    assert (tmp_path / "file").read_text() == "mine"


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


def test_another_config_changes_nothing(finished):
    workdir = finished["generator"]
    before = {p: p.stat().st_mtime_ns for p in workdir.rglob("*")}
    with pytest.raises(StylePrompterError, match=r"learning_rate: 0\.002 there, 2\.0"):
        train("generator", workdir, learning_rate=2.0)
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


def test_an_encoder_to_go_on_from(tiny_folder, tiny_variables):
    """Such as one started from ImageNet; `styleprompter convert` makes its folder."""
    config = tiny.get_config("encoder")
    config.init_from, config.init_encoder = str(tiny_folder), True
    config.model.encoder.patch_size = 4
    state = inversion.Inversion(config).init(jax.random.key(0))
    jax.tree.map(
        np.testing.assert_array_equal,
        state["trained"],
        tiny_variables["params"]["encoder"],
    )
    config.model.encoder.head_dim = 32
    with pytest.raises(StylePrompterError, match="head_dim = 16, but the one to train"):
        inversion.Inversion(config)
