"""The package is open: parts that only this file knows go through all that there is."""

import dataclasses
import json
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import TINY
from ml_collections import ConfigDict

import styleprompter_jax as sp
from styleprompter_jax.cli import main
from styleprompter_jax.configs import tiny
from styleprompter_jax.images.files import write_image
from styleprompter_jax.models import registry
from styleprompter_jax.models.inverter import StylePrompter, StylePrompterConfig
from styleprompter_jax.store.model_folder import load_model
from styleprompter_jax.training.settings import check_settings
from styleprompter_jax.training.start import read_start

pytestmark = pytest.mark.slow


@dataclasses.dataclass(frozen=True)
class PooledConfig(registry.EncoderBase):
    """An encoder whose codes are one linear layer of a small map."""

    type = "pooled"
    derived = ("image_size", "codes", "w_dim")

    image_size: int
    codes: int
    w_dim: int
    width: int = 8

    @property
    def num_codes(self):
        return self.codes

    @property
    def feature_shapes(self):
        return ((self.image_size // 4, self.image_size // 4, self.width),)

    @classmethod
    def for_generator(cls, generator, image_size, **fields):
        return cls(image_size, generator.num_codes, generator.w_dim, **fields)


class PooledEncoder(nn.Module):
    config: PooledConfig
    dtype: Any = None

    @nn.compact
    def __call__(self, images, *, deterministic=True):
        cfg = self.config
        maps = nn.Conv(cfg.width, (4, 4), (4, 4), dtype=self.dtype)(images)
        codes = nn.Dense(cfg.codes * cfg.w_dim)(maps.mean((1, 2)))
        return codes.reshape(len(images), cfg.codes, cfg.w_dim), (nn.relu(maps),)


@dataclasses.dataclass(frozen=True)
class AddConfig(registry.RefinerBase):
    """A refiner that adds the encoder's map, resized."""

    type = "add"
    options = {"gain": 1.0}  # noqa: RUF012
    edit_options = {"gain": 0.5}  # noqa: RUF012
    title = "the adder"

    refined_layers: tuple[int, ...] = (4,)


class Add(nn.Module):
    config: AddConfig
    dtype: Any = None

    @nn.compact
    def __call__(self, layer, x, features, gain=1.0, deterministic=True):
        _, h, w, c = x.shape
        y = nn.Dense(c, dtype=self.dtype, name=f"layer_{layer}")(features[0])
        rows, columns = (np.arange(size) * y.shape[1] // size for size in (h, w))
        gain = jnp.reshape(gain, (-1, 1, 1, 1)).astype(x.dtype)
        return x + gain * y[:, rows][:, :, columns]


@pytest.fixture(scope="module", autouse=True)
def registered():
    registry.register(PooledConfig, PooledEncoder)
    registry.register(AddConfig, Add)
    yield
    for key in (("encoder", "pooled"), ("refiner", "add")):
        del registry._PARTS[key]


def random_pictures(root):
    """A folder with the splits that the tiny config names."""
    rng = np.random.default_rng(0)
    for split in ("train", "test"):
        (root / split).mkdir(parents=True)
        for k in range(8):
            pixels = rng.integers(0, 256, (32, 32, 3), np.uint8)
            write_image(pixels, root / split / f"{k}.png")
    return root


def run(stage, part, root, init_from, images):
    """Trains a few steps; gives the model's folder."""
    config = tiny.get_config("encoder" if stage == "encoder" else "smart")
    with config.unlocked():
        config.model = ConfigDict({part["kind"]: part["fields"]})
    config.stage, config.init_from, config.total_steps = stage, str(init_from), 2
    config.eval_every = config.checkpoint_every = 2
    config.data.update(name="folder", path=str(images))
    config.data.update(train_split="train", eval_split="test")
    return sp.train(config, root)


@pytest.fixture(scope="module")
def folder(registered, tmp_path_factory, tiny_folder):
    root = tmp_path_factory.mktemp("new_parts")
    images = random_pictures(root / "images")
    encoder = dict(kind="encoder", fields=dict(type="pooled", width=4))
    refiner = dict(kind="refiner", fields=dict(type="add", refined_layers=(4,)))
    first = run("encoder", encoder, root / "encoder", tiny_folder, images)
    return run("refiner", refiner, root / "refiner", first, images)


def test_a_trunk_it_does_not_have(tiny_folder):
    config = tiny.get_config("encoder")
    with config.unlocked():
        config.model = ConfigDict({"encoder": dict(type="pooled", width=4)})
    config.init_from = config.init_trunk = str(tiny_folder)
    with pytest.raises(sp.StylePrompterError, match="no separate trunk"):
        read_start(config)


def test_what_is_saved_names_the_types(folder):
    fields = json.loads((folder / "config.json").read_text())
    assert fields["version"] == 2
    kinds = ("encoder", "refiner", "generator")
    assert [fields[k]["type"] for k in kinds] == ["pooled", "add", "stylegan2"]
    config, variables, _ = load_model(folder)
    assert config.encoder == PooledConfig(32, 8, 16, 4)
    assert variables["params"].keys() == {"encoder", "add", "generator"}


def test_in_python(folder):
    model = sp.load(folder)
    x = np.zeros((2, 32, 32, 3), np.float32)
    y, latents = model.invert(x)
    assert y.shape == (2, 32, 32, 3) and latents.features[0].shape == (2, 8, 8, 4)
    plain = model.decode(latents, refine=False)
    none = model.decode(latents, gain=0.0)
    np.testing.assert_allclose(none, plain, atol=1e-5)
    one = model.decode(latents, gain=np.float32([0, 1]))
    np.testing.assert_allclose(one[0], plain[0], atol=1e-5)
    np.testing.assert_allclose(one[1], y[1], atol=1e-5)
    for wrong in (dict(beta=(1, 1)), dict(gain=(1, 1, 1)), dict(gain="1")):
        with pytest.raises(sp.StylePrompterError, match=r"gain|beta"):
            model.decode(latents, **wrong)


def test_on_the_command_line(folder, tmp_path, capsys):
    images, pictures = random_pictures(tmp_path / "images"), []

    def styleprompter(*call):
        assert main([str(argument) for argument in call]) == 0, capsys.readouterr().err

    given = ("--model", folder, "--input", images / "train")
    gain = ("--refiner", "gain=0.5")
    styleprompter("invert", *given, *gain, "--output", tmp_path / "inverted")
    pictures += (tmp_path / "inverted").glob("*.png")
    found = tmp_path / "found"
    styleprompter(
        *("directions", "--model", folder, "--method", "sefa", "--count", 2),
        *("--output", found),
    )
    name = next(iter(sp.load(found).directions))
    given = ("--model", found, "--input", images / "train")
    styleprompter("edit", *given, "--direction", name, "--output", tmp_path / "edited")
    pictures += (tmp_path / "edited").glob("*.png")
    styleprompter("evaluate", *given, "--output", tmp_path / "measured")
    measured = json.loads((tmp_path / "measured" / "metrics.json").read_text())
    assert measured["unquantised"]["refined"]["psnr"] > 0
    assert len(pictures) > 8
    assert main(["invert", *map(str, given), "--output", str(tmp_path / "x"),
                 "--beta", "1", "1"]) == 1  # fmt: skip
    assert "no option beta: this model's refiner has gain" in capsys.readouterr().err


def test_a_type_that_is_not_there(folder, tmp_path):
    key = ("encoder", "pooled")
    part = registry._PARTS.pop(key)
    try:
        with pytest.raises(sp.StylePrompterError, match=r"encoder type .* is unknown"):
            sp.load(folder)
    finally:
        registry._PARTS[key] = part


def test_a_type_is_registered_once():
    registry.register(AddConfig, Add)  # the same again
    with pytest.raises(ValueError, match="already"):
        registry.register(AddConfig, PooledEncoder)
    named = type("Named", (AddConfig,), {"type": "encoder"})
    with pytest.raises(ValueError, match="name of a kind"):
        registry.register(named, Add)


def test_the_later_of_two_equal_definitions_counts():
    """As when a cell of a notebook runs again."""
    again = type("AddConfig", (AddConfig,), {"__module__": AddConfig.__module__})
    try:
        registry.register(again, Add)
        assert registry.part("refiner", "add").config is again
    finally:
        registry.register(AddConfig, Add)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda codes, maps: codes, "returns no codes with a tuple of maps"),
        (lambda codes, maps: None, "returns no codes with a tuple of maps"),
        (lambda codes, maps: (codes[:, 1:], maps), r"returns \[\(2, 7, 16\)"),
        (lambda codes, maps: (codes[:1], maps), r"returns \[\(1, 8, 16\)"),
        (lambda codes, maps: (codes, maps[0]), "returns no codes with a tuple of maps"),
        (lambda codes, maps: (codes, ()), r"promises .*\(2, 8, 8, 8\)\]"),
        (lambda codes, maps: (codes, (maps[0][:, 1:],)), r"\(2, 7, 8, 8\)\], but"),
    ],
)
def test_an_encoder_that_breaks_its_promise(change, message, monkeypatch):
    """Before, broadcasting hid some of these, and others failed far away."""
    model, variables = parts_of_tiny()
    call = PooledEncoder.__call__

    def wrong(self, images, *, deterministic=True):
        return change(*call(self, images, deterministic=deterministic))

    monkeypatch.setattr(PooledEncoder, "__call__", wrong)
    images = jax.ShapeDtypeStruct((2, 32, 32, 3), np.float32)
    with pytest.raises(sp.StylePrompterError, match=message) as error:
        jax.eval_shape(partial(model.apply, method="encode"), variables, images)
    assert "'pooled'" in str(error.value) and "correct its module" in str(error.value)


def test_a_refiner_that_breaks_its_promise(monkeypatch):
    model, variables = parts_of_tiny()
    monkeypatch.setattr(
        Add, "__call__", lambda self, layer, x, features, **_: x[:, :1, :1]
    )
    images = jax.ShapeDtypeStruct((2, 32, 32, 3), np.float32)
    with pytest.raises(sp.StylePrompterError, match=r"'add' returns .* of layer 4"):
        jax.eval_shape(model.apply, variables, images)


def parts_of_tiny():
    """The module of a model with the parts of this file, and its shapes."""
    config = StylePrompterConfig(PooledConfig(32, 8, 16), AddConfig(), TINY.generator)
    model = StylePrompter(config)
    images = np.zeros((1, 32, 32, 3), np.float32)
    return model, jax.eval_shape(model.init, jax.random.key(0), images)


def test_a_stage_of_another_refiner_is_refused():
    config = tiny.get_config("smart")
    with config.unlocked():
        config.model = ConfigDict(dict(refiner=dict(type="add")))
    with pytest.raises(sp.StylePrompterError, match='set the stage to "refiner"'):
        check_settings(config)
