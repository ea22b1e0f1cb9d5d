"""What was converted from a published checkpoint exports to the same arrays."""

import dataclasses

import jax
import numpy as np
import pytest
import recipe
from conftest import random_variables

from styleprompter_jax.app.convert import convert, export
from styleprompter_jax.cli import main
from styleprompter_jax.convert import origin as origins
from styleprompter_jax.convert.reading.files import read_file
from styleprompter_jax.convert.reading.torch_file import write_torch
from styleprompter_jax.convert.table import merge_collections, write_table
from styleprompter_jax.convert.tables.discriminators import rosinality_table
from styleprompter_jax.convert.tables.stylegan2 import generator_table
from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.models.discriminators.stylegan2 import DiscriminatorConfig
from styleprompter_jax.models.generators.stylegan2 import GeneratorConfig
from styleprompter_jax.models.inverter import StylePrompterConfig
from styleprompter_jax.store.discriminator_files import (
    KeptDiscriminator,
    discriminator_shapes,
    save_discriminator,
)


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    for key, array in expected.items():
        array = np.asarray(array)
        assert found[key].dtype == array.dtype, key
        np.testing.assert_array_equal(found[key], array, err_msg=key)


@pytest.mark.slow
@pytest.mark.parametrize("case", ["restyle_e4e_256"])  # others take the same way
def test_published_checkpoints_come_back_to_the_byte(case, tmp_path):
    manifest = recipe.manifest(case)
    state = recipe.state_dict(case)
    mean = np.tile(state.pop("latent_avg"), (manifest["latent_avg_in_file"][0], 1))
    for k, key in enumerate(key for key in state if key.endswith(origins.COUNT)):
        state[key] = np.array(1000 + k)
    tree = {"state_dict": state, "opts": manifest["opts"], "latent_avg": mean}
    write_torch(tmp_path / "in.pt", tree)
    convert([str(tmp_path / "in.pt")], tmp_path / "model")
    made = export(tmp_path / "model", tmp_path / "out.pt")
    assert manifest["opts"]["encoder_type"] in made.what
    found = read_file(tmp_path / "out.pt")
    assert found["opts"] == manifest["opts"]
    np.testing.assert_array_equal(found["latent_avg"], mean)
    # Filters lie in a published file too, and the recipe has none.
    filters = {key for key, *_ in manifest["buffers"]}
    kept = {k: a for k, a in found["state_dict"].items() if k not in filters}
    assert filters <= found["state_dict"].keys()
    assert_same(kept, state)


def test_generator_and_discriminator(tmp_path, monkeypatch, capsys):
    """Of widths that rosinality's code builds."""
    monkeypatch.chdir(tmp_path)
    generator = GeneratorConfig(8, z_dim=16, w_dim=16, mapping_layers=2)
    model = StylePrompterConfig(None, None, generator)
    tree = merge_collections(random_variables(model))
    reader = DiscriminatorConfig(8)
    shapes = discriminator_shapes(reader)["params"]
    params = jax.tree.map(lambda s: np.full(s.shape, 0.5, np.float32), shapes)
    content = {
        "g_ema": write_table(generator_table(generator), tree["generator"]),
        "latent_avg": tree["latent_avg"],
        "d": write_table(rosinality_table(reader), params),
    }
    write_torch(tmp_path / "in.pt", content)
    convert([str(tmp_path / "in.pt")], tmp_path / "model")
    made = export(tmp_path / "model", tmp_path / "out.pt")
    assert made.what == "generator and discriminator in rosinality's layout"
    found = read_file(tmp_path / "out.pt")
    np.testing.assert_array_equal(found["latent_avg"], content["latent_avg"])
    for name in ("g_ema", "d"):
        assert_same(found[name], content[name])
    # One that the published code does not build stays here.
    config = dataclasses.replace(reader, mbstd_group=2)
    save_discriminator(tmp_path / "model", KeptDiscriminator(config, params))
    made = export(tmp_path / "model", tmp_path / "alone.pt")
    assert made.what == "generator in rosinality's layout"
    assert made.left_out == ["discriminator"]
    assert main(["convert", str(tmp_path / "model"), "--export", "b.pt"]) == 0
    assert "Left out: discriminator (" in capsys.readouterr().out


def test_origins_are_checked():
    kept = {"a": 1, "b": [None, 0.5, "x"], "d": {"e": {"f": True}}, "n": -(10**16)}
    lost = {"c": float("nan"), "t": [(1, 2)], "i": 10**18, "z": "\0", "k": {1: 2}}
    counts = {
        "e.n.num_batches_tracked": np.int64(7),
        "e.m.num_batches_tracked": np.int64(-7),
        "e.l.num_batches_tracked": np.int64(2**62),
        "e.n.weight": np.ones(2),
    }
    mean, starts = np.zeros((4, 2)), {"e.": "encoder."}
    made = origins.origin_of(kept | lost, mean, counts, starts)
    assert made.options == kept
    assert made.lost(kept | lost) == (
        "Options that an export leaves out: c, t, i, z, k.",
    )
    assert not made.lost(kept)
    assert made.counts == {"encoder.n.num_batches_tracked": 7}
    assert origins.read_origin(made.text(), "x") == made
    without = origins.origin_of({}, None, {}, {})
    assert origins.read_origin(without.text(), "x") == without != origins.NOTHING
    for text in (
        "{",
        "{}",
        '{"options": 1, "latent_avg": [], "counts": {}}',
        '{"options": {}, "latent_avg": [-1], "counts": {}}',
        '{"options": {}, "latent_avg": [], "counts": {"a": 0.5}}',
    ):
        with pytest.raises(StylePrompterError, match="x has a damaged note"):
            origins.read_origin(text, "x")
