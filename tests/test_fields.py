"""Every field of every config: bad values are refused before JAX traces anything."""

import dataclasses
import json
import shutil
import typing

import numpy as np
import pytest
from conftest import TINY

from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.core.fields import Fields
from styleprompter_jax.models.discriminators.stylegan2 import DiscriminatorConfig
from styleprompter_jax.models.encoders.psp import PspConfig
from styleprompter_jax.models.encoders.swin import SwinConfig
from styleprompter_jax.models.inverter import StylePrompterConfig
from styleprompter_jax.store import model_folder

LIES = {
    "fraction": 2.5,
    "zero": 0,
    "negative": -1,
    "billion": 10**9,
    "400 digits": 10**400,
    "large": 1e300,
    "NaN": float("nan"),
    "infinity": float("inf"),
    "text": "8",
    "empty": "",
    "null": None,
    "yes": True,
    "object": {"a": 1},
    "nested": [[8]],
    "list": [],
    "strange list": [1, None],
    "negative list": [-1],
    "billions": [10**9],
    "long list": [1] * 1000,
}
# Valid values among the lies.
TRUE = {
    "drop_path": ["zero"],
    "dropout": ["zero"],
    "remat": ["yes"],
    "token_mlp": ["yes"],
    "channels": ["list"],
    "mapping_lr_multiplier": ["fraction"],
    "conv_clamp": ["fraction", "null", "billion"],
}
CONFIGS = (TINY.encoder, TINY.smart, TINY.generator, DiscriminatorConfig(8))
FIELDS = [(c, field.name) for c in CONFIGS for field in dataclasses.fields(c)]
NAMES = [f"{type(config).__name__}-{name}" for config, name in FIELDS]


@pytest.mark.parametrize(("config", "name"), FIELDS, ids=NAMES)
def test_lies_of_a_field(config, name):
    kind = type(config)
    for what, lie in LIES.items():
        if what in TRUE.get(name, ()):
            assert isinstance(dataclasses.replace(config, **{name: lie}), Fields)
            continue
        with pytest.raises(StylePrompterError, match=name) as error:
            dataclasses.replace(config, **{name: lie})
        message = str(error.value)
        assert message.isprintable() and len(message) < 400
        with pytest.raises(StylePrompterError):
            kind.from_dict(config.to_dict() | {name: lie})


def change_config(folder, text):
    (folder / model_folder.CONFIG).write_text(text)
    with pytest.raises(StylePrompterError) as error:
        model_folder.load_model(folder)
    message = str(error.value)
    assert message.startswith(str(folder / model_folder.CONFIG)), message
    assert message.isprintable() and len(message) < 600
    return message


def test_lies_of_a_model_folder(tmp_path, tiny_folder):
    folder = shutil.copytree(tiny_folder, tmp_path / "model")
    whole = json.loads((folder / model_folder.CONFIG).read_text())
    for part in ("encoder", "refiner", "generator"):
        for lie in LIES.values():
            if lie is None and part != "generator":
                continue  # a model may lack it, but its arrays are left over
            change_config(folder, json.dumps(whole | {part: lie}))
        for name in whole[part]:
            for lie in (10**9, "8", [[8]], {}):
                if name == "conv_clamp" and lie == 10**9:
                    continue
                text = json.dumps(whole | {part: whole[part] | {name: lie}})
                assert name in change_config(folder, text)
    for change in ({"colour": 1}, {"version": "1"}, {"version": True}, {"sha256": 3}):
        change_config(folder, json.dumps(whole | change))
    for text in ("", "[]", "null", "1", "{", '{"version": 1}', "[" * 100_000):
        change_config(folder, text)
    change_config(folder, '{"version": 1, "version": 1}')
    change_config(folder, json.dumps(whole | {"note": "x" * 2**20}))


def test_messages_have_the_words_of_python_or_json():
    values = TINY.refiner.to_dict()
    for wrong, said, wanted in (
        ({"dropout": None}, "null", "a number from 0 to 1"),
        ({"num_heads": True}, "true", "a whole number from 1 to 1024"),
        ({"ffn_dim": 2**17}, "131072", "a whole number from 1 to 65536"),
    ):
        ((name, value),) = wrong.items()
        for make, shown in (
            (lambda: type(TINY.refiner).from_dict(values | wrong), said),  # noqa: B023
            (lambda: dataclasses.replace(TINY.refiner, **wrong), str(value)),  # noqa: B023
        ):
            with pytest.raises(StylePrompterError) as error:
                make()
            said_so = f"SmartConfig: {name} is {shown}, but must be {wanted}."
            assert str(error.value) == said_so
    with pytest.raises(StylePrompterError, match="The config lacks generator: add"):
        StylePrompterConfig.from_dict({})
    with pytest.raises(StylePrompterError, match="from 1 to 8192, 4 of them"):
        PspConfig(widths=(1, 2))
    with pytest.raises(StylePrompterError, match=r"conv_clamp .* or None\."):
        dataclasses.replace(TINY.generator, conv_clamp="1")
    values = TINY.generator.to_dict() | {"conv_clamp": "1"}
    with pytest.raises(StylePrompterError, match="to 1000000000 or null"):
        type(TINY.generator).from_dict(values)


def test_sums_of_what_each_field_allows():
    with pytest.raises(StylePrompterError, match="192 blocks, more than 128"):
        SwinConfig(depths=(64, 64, 64), num_heads=(3, 3, 3))
    with pytest.raises(StylePrompterError, match="too large for windows of 32"):
        SwinConfig(image_size=4096, window_size=32, patch_size=2)
    with pytest.raises(StylePrompterError, match="names a layer twice"):
        dataclasses.replace(TINY.smart, refined_layers=(4, 4))


def test_what_other_code_writes_is_taken():
    config = dataclasses.replace(
        TINY.encoder, depths=[*TINY.encoder.depths], w_dim=np.int64(TINY.encoder.w_dim)
    )
    assert config == TINY.encoder and type(config.w_dim) is int
    assert hash(config) == hash(TINY.encoder)
    assert SwinConfig(drop_path=np.float32(0.5)).drop_path == 0.5
    assert SwinConfig.from_dict({}) == SwinConfig()
    model = json.loads(json.dumps(TINY.to_dict()))
    assert StylePrompterConfig.from_dict(model) == TINY
    # As version 1 has it, without types.
    first = {k: {f: v for f, v in model[k].items() if f != "type"} for k in model}
    first["smart"] = first.pop("refiner")
    assert StylePrompterConfig.from_dict(first) == TINY
    del model["refiner"]
    assert StylePrompterConfig.from_dict(model).refiner is None
    for config in (TINY, *CONFIGS):
        hints = typing.get_type_hints(type(config), include_extras=True)
        assert hints.keys() >= {field.name for field in dataclasses.fields(config)}
