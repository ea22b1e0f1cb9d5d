"""Configs and calls: those of configs/ fit, and wrong ones change nothing."""

import functools
import os
import re
import subprocess
import sys
from pathlib import Path

import jax
import pytest
from ml_collections import ConfigDict

from styleprompter_jax.cli import main, parse
from styleprompter_jax.configs import avatars_generator, own_images_smart, tiny
from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.store import model_folder
from styleprompter_jax.training import loop
from styleprompter_jax.training.config import get_config, override
from styleprompter_jax.training.objectives.adversarial import Adversarial
from styleprompter_jax.training.optim.optimizers import make_optimizer
from styleprompter_jax.training.settings import check_settings, check_sizes
from styleprompter_jax.training.start import describe_start

ROOT = Path(loop.__file__).parents[2]
ALL_OFF = ("loss.l2", "loss.hardest", "loss.structure", "loss.align")


def kind_of(name):
    """What a config trains for: the name without its stage or refiner."""
    return re.sub(r"_(generator|encoder|smart|conv)$", "", name)


def config_of(name):
    """A config of configs/, with the parts that its starting model would bring."""
    config = get_config(name)
    kind = kind_of(name)
    # The parts that an earlier stage of the same name makes.
    both = ["generator", "encoder"]
    for part in dict(encoder=both[:1], smart=both, refiner=both).get(config.stage, ()):
        before = ROOT / "configs" / f"{kind}_{part}.py"
        if part not in config.model and before.is_file():
            with config.unlocked():
                config.model[part] = get_config(before.stem).model[part]
    return config


@pytest.mark.slow
def test_configs_fit_their_models():
    names = [file.stem for file in (ROOT / "configs").glob("[a-z]*_*.py")]
    encoders = {}
    for name in sorted(names):
        config = config_of(name)
        check_settings(config)
        if config.stage == "generator":
            Adversarial(config)
            continue
        make_optimizer(config)
        model = describe_start(config).config  # traced: every shape fits the others
        check_sizes(config, model)
        # A refiner goes with the encoder of the stage before.
        kind = kind_of(name)
        assert encoders.setdefault(kind, model.encoder) == model.encoder, name
    assert encoders.keys() == {kind_of(name) for name in names}
    assert model_folder.load_model("avatars64")[0].encoder == encoders["avatars"]


def test_variants_of_configs():
    sharpen = avatars_generator.get_config("sharpen")
    check_settings(sharpen)
    assert sharpen.model == avatars_generator.get_config().model
    with pytest.raises(StylePrompterError, match="only :sharpen"):
        avatars_generator.get_config("polish")
    config = own_images_smart.get_config()
    config.data.image_size = config.model.generator.image_size = 64
    config.model.encoder.update(variant="base", patch_size=2, window_size=8)
    config.model.smart.refined_layers = (4, 6, 8)
    model = describe_start(config).config
    assert model.encoder.depths == (2, 2, 18, 2) and model.encoder.num_tokens == 10
    check_sizes(config, model)


@pytest.mark.parametrize(
    ("stage", "changes", "message"),
    [
        ("generator", {"batch_size": 6, "devices": 4}, "multiple of 4"),
        ("generator", {"devices": 0}, "devices is empty"),
        ("generator", {"batch_size": 0}, "batch_size is 0"),
        ("generator", {"total_steps": -1}, "total_steps is -1"),
        ("generator", {"learning_rate": float("nan")}, "learning_rate"),
        ("generator", {"on_nan": "hope"}, '"stop", "skip"'),
        ("generator", {"seed": -1}, "seed is -1"),
        ("generator", {"seed": 2**63}, "whole number from 0"),
        ("generator", {"loss.r1_gama": 1.0}, "loss.r1_gama .*did you mean r1_gamma"),
        ("generator", {"loss.r1_gamma": "10"}, "loss.r1_gamma is '10'"),
        ("generator", {"optimizer.beta3": 0.1}, "did you mean beta"),
        ("generator", {"data.worker": 1}, "did you mean workers"),
        ("generator", {"data.nonsense": 1}, "choose one of crop, eval_split"),
        ("generator", {"batchsize": 8}, "did you mean batch_size"),
        ("generator", {"data.flip": "no"}, "True or False"),
        ("generator", {"data.path": 3}, "must be text"),
        ("generator", {"data.eval_split": "validation[:1]"}, "needs 2 or more"),
        ("generator", {"optimizer": 1e-3}, "a ConfigDict"),
        ("encoder", {"loss.lpisp": 0.6}, "loss.lpisp .*did you mean lpips"),
        ("encoder", {"loss.l2": float("nan")}, "loss.l2 is nan"),
        ("encoder", {"loss.align": -0.1}, "0 or more"),
        ("encoder", dict.fromkeys(ALL_OFF, 0.0), "one of l2, hardest"),
        ("smart", dict.fromkeys(ALL_OFF, 0.0), "one of l2"),
        ("smart", {"loss.align": 0.01}, "loss.align is 0.01.* does not read it"),
        ("encoder", {"optimizer.schedule": "linear"}, '"constant", "cosine"'),
        ("encoder", {"optimizer.beta1": 1.5}, "from 0 to less than 1"),
        ("generator", {"dtype": "float16"}, "dtype"),
        ("generator", {"data.image_size": 64}, "one size"),
        ("generator", {"data.workers": -1}, "workers"),
        ("generator", {"data.crop": "left"}, '"center", "random"'),
        ("generator", {"data.train_split": "half"}, "no split 'half'"),
        ("generator", {"data.eval_split": "half"}, "no split 'half'"),
        ("generator", {"data.train_split": "train[5:2]"}, "batch"),
        ("generator", {"data.name": "folder"}, "config.data.path is empty"),
        ("generator", {"data.name": ""}, "config.data.name is empty"),
        (
            "generator",
            {"data.name": "folder", "data.path": "no/such"},
            "config.data.path is no/such, but there is no folder no/such/train",
        ),
        ("generator", {"data.train_split": "train[:0]"}, "or a part such as"),
        ("generator", {"time_limit": "60"}, "time_limit is '60': it must be a number"),
        ("generator", {"time_limit": -1}, "time_limit is -1.0: it must be 0 or more"),
        ("generator", {"loss.r1_every": 0}, "r1_every"),
        ("generator", {"model.generator.w_dim": 0}, "w_dim is 0"),
        ("generator", {"model.generator.channels": (8, 8)}, "tor.*Config: 2 channels"),
        ("generator", {"model.discriminator.mbstd_group": 3}, "mbstd_group"),
        ("generator", {"loss.augment": "always"}, '"none", "fixed", "adaptive"'),
        ("generator", {"loss.augment_p": 1.5}, "augment_p is 1.5.* from 0 to 1"),
        ("generator", {"loss.augment_images": 0}, "augment_images is 0"),
        ("generator", {"optimizer.frozen_blocks": 1}, "starts from nothing"),
        ("encoder", {"init_from": "no/such/model"}, "no/such/model"),
        ("encoder", {"data.image_size": 48}, "use 32 or a divisor"),
        ("encoder", {"model.encoder.window_sise": 4}, "did you mean window_size"),
        ("encoder", {"model.encoder.num_tokens": 9}, "follows from"),
        ("encoder", {"model.encoder.variant": "huge"}, '"tiny", "small", "base"'),
        ("encoder", {"optimizer.accumulate": 0}, "accumulate is 0"),
        ("encoder", {"optimizer.weight_decay": 0.1}, 'unless .* is "adamw"'),
        ("smart", {"init_encoder": True}, 'False outside of stage "encoder"'),
        ("encoder", {"optimizer.ema_images": -1.0}, "ema_images is -1.0"),
        ("encoder", {"model.encoder.num_heads": (3, 2)}, "num_heads"),
        ("encoder", {"model.encoder.drop_path": 1.5}, "drop_path"),
        ("encoder", {"loss.delta": 1e-4}, "each code by itself"),
        ("encoder", {"loss.delta_start": 0}, "each code by itself"),
        ("psp", {"loss.delta_start": 0}, "Encoder4Editing"),
        ("e4e", {"loss.delta_every": 0}, "delta_every is 0"),
        ("e4e", {"loss.pool_size": -1}, "pool_size is -1"),
        ("e4e", {"loss.discriminator": "yes"}, "loss.discriminator is 'yes'"),
        ("e4e", {"optimizer.discriminator_rate": -1.0}, "0 or more"),
        ("e4e", {"model.encoder.widths": (4, 8)}, "widths"),
        ("e4e", {"model.encoder.encoder_type": "e4e"}, "encoder_type"),
        ("e4e", {"init_trunk": "no/such/folder"}, "no model folder no/such/folder"),
        ("e4e", {"init_trunk": "x", "init_encoder": True}, "new encoder of stage"),
        ("encoder", {"init_trunk": "no/such/folder"}, "no model folder no/such/folder"),
        ("smart", {"loss.discriminator": 0.1}, "loss.discriminator is 0.1"),
        ("smart", {"init_trunk": "x"}, "new encoder of stage"),
        ("psp", {"data.input": "dream"}, '"downsample", "grey"'),
        ("psp", {"data.input": "sketch"}, "1 channel, and the encoder reads 3"),
        ("psp", {"data.input": "labels"}, "input_path is empty"),
        ("psp", {"model.encoder.input_channels": 1}, "data.input is empty"),
        ("psp", {"model.encoder.passes": 2}, "more than 3 channels"),
        ("psp", {"data.factors": (0,)}, r"as in \(4, 8\)"),
        ("psp", {"data.image_height": 16}, "reads images of 32 x 32"),
        ("generator", {"data.input": "grey"}, "data.input is 'grey', but stage"),
        ("generator", {"loss.lpips": 0.8}, "'generator' does not read it: remove it"),
        ("generator", {"optimizer.clip_norm": 1.0}, "clip_norm is 1.0, but stage"),
        ("encoder", {"loss.augment": "adaptive"}, "'encoder' does not read it"),
        ("smart", {"loss.r1_gamma": 10.0}, "'smart' does not read it"),
        ("smart", {"loss.w_norm": 0.1}, "w_norm is 0.1, but stage"),
        ("smart", {"model.smart.refined_layers": (9,)}, "layers 1 to 7"),
        ("smart", {"model.smart.num_heads": 3}, "3 heads"),
    ],
)
def test_wrong_configs_make_nothing(stage, changes, message, tiny_folder, tmp_path):
    config = tiny.get_config(stage)
    config.init_from = "" if stage == "generator" else str(tiny_folder)
    changes = dict(changes)
    devices = jax.devices()[: changes.pop("devices", 1)]
    time_limit = changes.pop("time_limit", None)
    with config.unlocked(), config.ignore_type():
        for key, value in changes.items():
            *parents, name = key.split(".")
            functools.reduce(getattr, parents, config)[name] = value
    with pytest.raises(StylePrompterError, match=message):
        loop.train(config, tmp_path / "run", devices=devices, time_limit=time_limit)
    assert not (tmp_path / "run").exists()


def test_several_processes_have_several_clocks(tmp_path, monkeypatch):
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    with pytest.raises(StylePrompterError, match=r"time_limit .* set config.total_st"):
        loop.train(tiny.get_config("generator"), tmp_path / "run", time_limit=60)
    assert not (tmp_path / "run").exists()


def test_a_model_is_no_run(tiny_folder):
    with pytest.raises(StylePrompterError, match="something else than a run"):
        loop.train(tiny.get_config("generator"), tiny_folder)


def test_a_kind_of_part_is_named_once():
    config = tiny.get_config("smart")
    with config.unlocked():
        config.model.refiner = ConfigDict(dict(refined_layers=(4,)))
    with pytest.raises(StylePrompterError, match="one refiner: remove one of them"):
        check_settings(config)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--config=configs/tiny.py", "--config.loss.l3=1"], "--config.loss.l3=1"),
        (["--config=configs/tiny.py", "--config.batchsize=1"], "mean batch_size?"),
        (["--config=configs/tiny.py", "--config.data.flip=perhaps"], "type (Non-"),
        (["--config=configs/tiny.py", "--config.batch_size=x"], "batch_size"),
        (["--config=configs/tiny.py", "--config.=1"], "--config.=1 names no key"),
        (["--config=configs/tiny.py", "--config..seed=1"], "names no key"),
        (["--config=configs/tiny.py", f"--workdir={'a' * 300}"], "has 300 bytes"),
        (["--config=configs/tiny.py:decoder"], "decoder"),
        (["--config=configs/none.py"], "configs/none.py"),
    ],
)
def test_wrong_calls_are_answered_in_one_line(
    arguments, message, tmp_path, capsys, monkeypatch
):
    monkeypatch.chdir(ROOT)
    assert main(["train", f"--workdir={tmp_path / 'run'}", *arguments]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("Error: ") and message in line
    assert not (tmp_path / "run").exists()


def test_a_device_that_is_not_there(tmp_path):
    environment = os.environ | {"JAX_PLATFORMS": "tpu_of_the_future"}
    command = [sys.executable, "train.py", f"--workdir={tmp_path / 'run'}"]
    command.append("--config=configs/tiny.py")
    result = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert result.returncode == 1
    line = result.stderr.splitlines()[-1]  # after what libraries warn of
    assert line.startswith("Error: ") and "tpu_of_the_future" in line
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "run").exists()


MINE = """
from ml_collections import FrozenConfigDict
from configs import avatars_encoder
from configs.ffhq_smart import smart_after


def get_config():
    from configs import avatars_psp as _  # also later than at the top
    config = avatars_encoder.get_config()
    config.seed = 7
    return FrozenConfigDict(config)
"""


def test_a_config_by_name_by_file_and_of_ones_own(tmp_path):
    for name in ("tiny:smart", "avatars_generator:sharpen", "own_images_encoder"):
        file = "configs/{}.py{}{}".format(*name.partition(":"))
        assert get_config(name) == get_config(ROOT / file)
    (tmp_path / "mine.py").write_text(MINE)
    config = get_config(tmp_path / "mine.py")
    assert config.seed == 7 and config.data == get_config("avatars_encoder").data
    config.seed = 8
    with pytest.raises(AttributeError, match="seed"):
        config.sead = 9


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("tinny", None, "There is no config tinny: choose one of afhq_wild_encoder, "),
        ("tiny:decoder", None, "tiny.py:decoder: choose one of generator, encoder"),
        ("avatars_smart:large", None, "avatars_smart:large does not fit"),
        ("no/such.py", None, "The config file no/such.py cannot be read"),
        ("~nobody-here/a.py", None, "~nobody-here/a.py begins with an unknown home"),
        ("az://bucket/a.py", None, "az://bucket/a.py is an address"),
        ("a.py", "x = 1", "a.py has no function get_config"),
        ("a.py", "def get_config(:", "a.py fails with SyntaxError"),
        ("a.py", "import no_such_module", "a.py fails with ModuleNotFoundError"),
        ("a.py", "def get_config():\n    return 1 / 0", "by zero (line 2)."),
        ("a.py", "raise SystemExit(3)", "a.py fails with SystemExit: 3"),
        ("a.py", "def get_config():\n    return {}", "returns dict: it must"),
        ("a.py", "def get_config(a):\n    pass", "a.py does not fit get_config"),
    ],
)
def test_what_is_no_config_is_one_sentence(
    name, content, message, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(StylePrompterError) as error:
        get_config(name)
    assert message in str(error.value) and "\n" not in str(error.value)
    assert {path.name for path in tmp_path.iterdir()} <= {"a.py"}  # nor a cache


def test_keys_on_the_command_line():
    call = ["train", "--config=tiny:smart", "--workdir=w", "--config.batch_size", "4"]
    call += ["--config.model.smart.refined_layers=(4, 6)", "-config.data.flip"]
    call += ["--config.learning_rate=3e-4", "--noconfig.frozen_deterministic"]
    args = parse(call[:-1])
    config = override(get_config(args.config), args.overrides)
    assert (config.batch_size, config.data.flip) == (4, True)
    assert config.model.smart.refined_layers == (4, 6)
    assert config.learning_rate == 3e-4
    with pytest.raises(StylePrompterError, match="frozen_deterministic"):
        override(get_config("tiny:smart"), parse(call).overrides)
    for wrong in ("modl.encoder.variant=base", "data.path.x=1", "data.name[0]=3"):
        with pytest.raises(StylePrompterError) as error:
            override(get_config("tiny:smart"), [f"--config.{wrong}"])
        assert "\n" not in str(error.value) and wrong in str(error.value)


def test_configs_load_without_a_checkout(tmp_path):
    """The top folder configs/ is not part of an installed package."""
    program = (
        "import sys; from styleprompter_jax.training import config\n"
        "sys.modules['configs'] = None\n"
        "for name in config.config_names(): config.get_config(name)"
    )
    subprocess.run([sys.executable, "-c", program], check=True, cwd=tmp_path)


@pytest.mark.parametrize(
    "call",
    [
        ("--workdir=w",),
        ("--config=tiny",),
        ("--config=tiny", "--workdir=w", "more"),
        ("--config=tiny", "--workdir=w", "--config.batch_size=4", "5"),
        ("--config=tiny", "--workdir=w", "--batch-size=4"),
        ("--config=tiny", "--workdir=w", "--process_id=-1"),
    ],
)
def test_a_wrong_call_of_train_exits_with_2(call, capsys):
    with pytest.raises(SystemExit) as error:
        main(["train", *call])
    assert error.value.code == 2
    assert "styleprompter train" in capsys.readouterr().err
