"""The conversion engine, and the tables over whole checkpoints."""

import jax
import numpy as np
import pytest
import recipe
from flax.traverse_util import flatten_dict

from styleprompter_jax.convert.table import (
    Ignored,
    Kept,
    Rule,
    merge_collections,
    prefixed,
    read_table,
    split_collections,
    write_table,
)
from styleprompter_jax.convert.tables.style_prompter import checkpoint_table
from styleprompter_jax.convert.tables.swin import encoder_table, imagenet_table
from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.models.encoders.swin import SwinConfig, SwinEncoder
from styleprompter_jax.models.generators.stylegan2 import GeneratorConfig
from styleprompter_jax.models.inverter import StylePrompter, StylePrompterConfig
from styleprompter_jax.models.refiners.smart import SmartConfig

TABLE = (
    Rule("conv_{i}/kernel", "conv.{i}.weight", "o i h w -> h w i o"),
    Rule("conv_{i}/bias", "conv.{i}.bias"),
    Rule("gain", "gain", "1 ->"),
    Ignored("conv.{i}.mask", "follows from the sizes"),
)


def shape(*sizes, dtype=np.float32):
    return jax.ShapeDtypeStruct(sizes, dtype)


TARGET = {
    "conv_0": {"kernel": shape(3, 3, 4, 5), "bias": shape(5)},
    "conv_1": {"kernel": shape(1, 1, 5, 2), "bias": shape(2)},
    "gain": shape(),
}


@pytest.fixture
def source():
    draw = np.random.default_rng(0).standard_normal
    return {
        "conv.0.weight": draw((5, 4, 3, 3), np.float32),
        "conv.0.bias": draw(5, np.float32),
        "conv.0.mask": np.zeros((7, 7), np.int64),
        "conv.1.weight": draw((2, 5, 1, 1), np.float32),
        "conv.1.bias": draw(2, np.float32),
        "gain": np.ones(1, np.float32),
    }


def test_there_and_back(source):
    tree = read_table(TABLE, source, TARGET)
    np.testing.assert_array_equal(
        tree["conv_0"]["kernel"], source["conv.0.weight"].transpose(2, 3, 1, 0)
    )
    assert tree["gain"].shape == ()
    back = write_table(TABLE, tree)
    assert back.keys() == source.keys() - {"conv.0.mask"}
    for key, array in back.items():
        assert array.dtype == source[key].dtype and array.flags.c_contiguous
        np.testing.assert_array_equal(array, source[key])


def test_result_shares_no_memory(source):
    tree = read_table(TABLE, source, TARGET)
    assert not np.shares_memory(tree["conv_0"]["bias"], source["conv.0.bias"])


def test_takes_the_type_of_the_target(source):
    source["conv.0.bias"] = source["conv.0.bias"].astype(np.float16)
    tree = read_table(TABLE, source, TARGET)
    assert tree["conv_0"]["bias"].dtype == np.float32


def test_prefixes(source):
    rows = prefixed(TABLE, "decoder/", "net.module.")
    moved = {f"net.module.{key}": array for key, array in source.items()}
    tree = read_table(rows, moved, {"decoder": TARGET})
    assert tree["decoder"]["conv_1"]["bias"].shape == (2,)


def test_all_problems_in_one_report(source):
    del source["conv.0.bias"]
    source["conv.1.weight"] = source["conv.1.weight"][:1]
    source["conv.1.bias"][1] = np.nan
    source["gain"] = np.ones(1, np.int64)
    source["head.weight"] = np.zeros((3, 3), np.float32)
    with pytest.raises(StylePrompterError) as error:
        read_table(TABLE, source, TARGET, "weights.pt")
    message = str(error.value)
    assert message.startswith("weights.pt does not fit the model; nothing was loaded.")
    for problem in (
        "missing (1):\n    conv.0.bias (for conv_0/bias, float32[5])",
        "wrong shape (1):\n    conv.1.weight is float32[1, 5, 1, 1], "
        "but conv_1/kernel is float32[1, 1, 5, 2]",
        "not finite (1):\n    conv.1.bias",
        "not floating point (1):\n    gain is int64[1]",
        "unexpected (1):\n    head.weight float32[3, 3]",
    ):
        assert problem in message


def test_wrong_number_of_axes(source):
    source["conv.0.weight"] = source["conv.0.weight"][0]
    with pytest.raises(
        StylePrompterError, match=r"conv.0.weight is float32\[4, 3, 3\]"
    ):
        read_table(TABLE, source, TARGET)


def test_overflow_is_not_finite(source):
    source["gain"] = np.full(1, 1e300)
    with pytest.raises(StylePrompterError, match="not finite"):
        read_table(TABLE, source, TARGET)


def test_long_reports_are_cut():
    source = {f"layer.{i}": np.zeros(1, np.float32) for i in range(100)}
    with pytest.raises(StylePrompterError) as error:
        read_table((), source, {})
    message = str(error.value)
    assert "unexpected (100)" in message and "and 80 more" in message


def test_every_leaf_needs_exactly_one_row(source):
    twice = (*TABLE, Rule("{layer}/bias", "{layer}.bias"))
    for use in (
        lambda: read_table(twice, source, TARGET),
        lambda: write_table(twice, read_table(TABLE, source, TARGET)),
    ):
        with pytest.raises(StylePrompterError, match="several rules"):
            use()
    with pytest.raises(StylePrompterError, match="without a rule"):
        read_table(TABLE[1:], source, TARGET)


def test_no_key_fills_two_leaves(source):
    rows = (Rule("a", "gain"), Rule("b", "gain"))
    with pytest.raises(StylePrompterError, match="used twice"):
        read_table(rows, {"gain": source["gain"]}, {"a": shape(1), "b": shape(1)})
    with pytest.raises(StylePrompterError, match="used twice"):
        write_table(rows, {"a": source["gain"], "b": source["gain"]})


def test_kept_leaves(source):
    rows = (*TABLE, Kept("head/{leaf}", "the file has none"))
    head = {"kernel": np.full((2, 2), 7.0)}
    tree = read_table(rows, source, {**TARGET, "head": head})
    assert tree["head"]["kernel"] is head["kernel"]
    with pytest.raises(StylePrompterError, match="without a key"):
        write_table(rows, tree)


def test_collections():
    variables = {
        "params": {"b4": {"kernel": 1}, "b8": {"kernel": 2}},
        "const": {"b4": {"noise": 3}, "latent_avg": 4},
    }
    tree = merge_collections(variables)
    assert tree["b4"] == {"kernel": 1, "noise": 3}
    assert split_collections(tree, variables) == variables


def test_published_checkpoint_there_and_back():
    config = StylePrompterConfig(
        SwinConfig(num_tokens=14), SmartConfig(), GeneratorConfig(image_size=256)
    )
    images = shape(1, 256, 256, 3)
    like = jax.eval_shape(StylePrompter(config).init, jax.random.key(0), images)
    checkpoint = recipe.state_dict("styleprompter_256")
    rows = (*checkpoint_table(config), Rule("latent_avg", "latent_avg"))
    tree = read_table(rows, checkpoint, merge_collections(like))
    assert sum(x.size for x in flatten_dict(tree).values()) == recipe.num_parameters(
        "styleprompter_256"
    )
    back = write_table(rows, tree)
    assert recipe.same_layout(back, "styleprompter_256")
    for key, array in checkpoint.items():
        np.testing.assert_array_equal(back[key], array, strict=True)
    several = StylePrompterConfig(None, SmartConfig((4, 6)), GeneratorConfig(64))
    with pytest.raises(StylePrompterError, match="one layer"):
        checkpoint_table(several)


def test_imagenet_start():
    """The classifier's file fills the backbone; new parameters keep their values."""
    config = SwinConfig()
    encoder = SwinEncoder(config)
    like = jax.eval_shape(encoder.init, jax.random.key(0), shape(1, 256, 256, 3))
    fresh = jax.tree.map(lambda x: np.full(x.shape, 7, x.dtype), like["params"])
    table = imagenet_table(config)
    params = read_table(table, recipe.state_dict("swin_imagenet"), fresh)
    kept = {p for p, x in flatten_dict(params, sep="/").items() if (x == 7).all()}
    new = {r.target for r in encoder_table(config) if isinstance(r, Rule)} - {
        r.target for r in table if isinstance(r, Rule)
    }
    assert kept == {
        row.format(i=i)
        for row in new
        for i in range(3)  # three stages to widen after, three layers of the head
    }
