"""Checks of whether a run fits a TPU slice, with and without the TPU compiler."""

import jax
import pytest

from styleprompter_jax.configs import avatars_conv, ffhq_smart, tiny
from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.losses import PERCEPTUAL
from styleprompter_jax.training import compile_only as checks
from styleprompter_jax.training.compile_only import Estimate, compile_only, lowered
from styleprompter_jax.training.run import parallel
from styleprompter_jax.training.start import describe_start


def test_estimate():
    # Two v5e seconds of arithmetic, one of memory traffic, an image.
    estimate = Estimate("v5e:2x4", 8, 4, 15e9, 2 * 197e12, 819e9)
    assert estimate.fits
    assert estimate.seconds == (2.0, 1.0)
    assert "at most 4 images a second, bound by arithmetic" in str(estimate)
    assert not Estimate("v5e:2x4", 8, 4, 17e9, 1.0, 1.0).fits


def test_a_start_of_shape_only():
    start = describe_start(ffhq_smart.get_config())
    assert start.config.generator.image_size == 1024
    assert start.config.encoder.num_tokens == 18
    assert set(start.networks) == {"lpips", "id"}
    assert PERCEPTUAL["id"].trained_on(start.networks["id"], "smart").multi_level
    leaves = jax.tree.leaves((start.variables, start.network_variables))
    assert sum(leaf.base.nbytes for leaf in leaves if leaf.size > 1) < 1e5


def test_a_part_that_only_the_start_has_is_asked_for():
    """Another part in its place would give the memory of another model."""
    with pytest.raises(
        StylePrompterError, match=r"no generator, .*model\.generator in"
    ):
        lowered(tiny.get_config("encoder"), parallel.make_mesh())
    config = avatars_conv.get_config()
    with config.unlocked():
        config.model.generator = tiny.get_config("generator").model.generator
    with pytest.raises(StylePrompterError, match="no encoder"):
        lowered(config, parallel.make_mesh())


def test_an_unknown_slice():
    config = tiny.get_config("generator")
    with pytest.raises(StylePrompterError, match=r"not name a TPU slice: .*v5e:2x4"):
        compile_only(config, "v9:2x4")


@pytest.mark.parametrize("status, kind", [
    ("RESOURCE_EXHAUSTED: Ran out of memory on HBM", StylePrompterError),
    ("INTERNAL: a fault of the compiler", jax.errors.JaxRuntimeError),
])  # fmt: skip
def test_a_step_that_is_far_too_large(monkeypatch, status, kind):
    class Large:
        def compile(self):
            raise jax.errors.JaxRuntimeError(f"{status}\nmore")

    monkeypatch.setattr(checks, "_devices", lambda name: jax.devices())
    monkeypatch.setattr(checks, "lowered", lambda config, mesh: Large())
    with pytest.raises(kind) as error:
        compile_only(tiny.get_config("generator"), "v5e:2x4")
    if kind is StylePrompterError:
        assert "1 image a chip does not fit: use larger chips" in str(error)
        assert str(error.value).endswith(status)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["e4e", "restyle"])
def test_steps_of_every_kind_are_traced(kind):
    """Without the compiler of a slice, and without weights."""
    config = tiny.get_config("psp" if kind == "restyle" else kind)
    if kind == "restyle":
        config.model.encoder.update(input_channels=6, passes=2)
    mesh = parallel.make_mesh()
    inputs = jax.tree.leaves(lowered(config, mesh).in_avals)
    assert (8, 32, 32, 3) in [leaf.shape for leaf in inputs]


@pytest.mark.slow
def test_compiled_for_a_slice():
    pytest.importorskip("libtpu")
    config = tiny.get_config("generator")
    estimate = compile_only(config, "v5e:2x4")
    assert (estimate.chips, estimate.images, estimate.fits) == (8, 1, True)
    assert estimate.flops > 1e6


def test_a_config_that_training_refuses():
    """With the same checks."""
    grouped = tiny.get_config("generator")
    grouped.model.discriminator.mbstd_group = 3
    odd = tiny.get_config("e4e")
    odd.data.image_size = 24
    for config, said in ((grouped, "does not divide"), (odd, "image_size is 24")):
        with pytest.raises(StylePrompterError, match=said):
            lowered(config, parallel.make_mesh(jax.devices()[:1]))
