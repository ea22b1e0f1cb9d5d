"""The whole path against a published checkpoint, and the config."""

import json

import jax
import numpy as np
import pytest
import quick
import recipe
from einops import rearrange, reduce

from styleprompter_jax.convert.style_prompter import checkpoint_table
from styleprompter_jax.convert.table import (
    merge_collections,
    read_table,
    split_collections,
)
from styleprompter_jax.errors import StylePrompterError
from styleprompter_jax.models.smart import SmartConfig
from styleprompter_jax.models.style_prompter import StylePrompter, StylePrompterConfig
from styleprompter_jax.models.stylegan2 import GeneratorConfig
from styleprompter_jax.models.swin import SwinConfig

CONFIG = StylePrompterConfig(
    encoder=SwinConfig(num_tokens=14),
    smart=SmartConfig(refined_layers=(4,)),
    generator=GeneratorConfig(image_size=256),
)


@pytest.fixture(scope="module")
def published():
    """The module, its variables, the fixture's arrays and its image."""
    model = StylePrompter(CONFIG)
    images = jax.ShapeDtypeStruct((1, 256, 256, 3), np.float32)
    like = jax.eval_shape(model.init, jax.random.key(0), images)
    state = recipe.state_dict("styleprompter_256", buffers=True)
    tree = read_table(checkpoint_table(CONFIG), state, merge_collections(like))
    expected = recipe.arrays("styleprompter_256")
    images = recipe.normal(expected["images_seed"], 1, 3, 256, 256)
    images = rearrange(images, "b c h w -> b h w c")
    return model, split_collections(tree, like), expected, images


def half(images):
    """What the fixture holds of an image: means of 2x2 pixels, NCHW."""
    return reduce(np.asarray(images), "b (h y) (w x) c -> b c h w", "mean", y=2, x=2)


@pytest.mark.slow
def test_published_checkpoint(published):
    model, variables, expected, images = published
    encode = quick.jit(lambda v, x: model.apply(v, x, method="encode"))
    codes, features = encode(variables, images)
    assert recipe.relative_error(codes, expected["codes"]) < 1e-4

    # Both in one program; beta is data.
    @quick.jit
    def decode(variables, codes, features, beta):
        refined = model.apply(variables, codes, features, beta=beta, method="decode")
        return refined, model.apply(
            variables, codes, features, refine=False, method="decode"
        )

    edit = recipe.normal(expected["edit_seed"], *codes.shape)
    refined, plain = decode(variables, codes, features, (1.0, 1.0))
    weighed, _ = decode(variables, codes, features, (0.6, 0.3))
    edited, _ = decode(variables, codes + 0.5 * edit, features, (1.0, 1.0))
    for key, image in (
        ("refined", refined),
        ("baseline", plain),
        ("refined_beta", weighed),
        ("edited", edited),
    ):
        assert recipe.relative_error(half(image), expected[key]) < 1e-4, key
    size = expected["refined_crop"].shape[-1]
    crop = rearrange(np.asarray(refined)[:, :size, :size], "b h w c -> b c h w")
    assert recipe.relative_error(crop, expected["refined_crop"]) < 1e-4


def test_config_there_and_back():
    for config in (
        CONFIG,
        StylePrompterConfig(None, None, GeneratorConfig(image_size=64)),
        StylePrompterConfig(
            None, SmartConfig((4, 6), attention="softmax"), GeneratorConfig(64)
        ),
    ):
        text = json.dumps(config.to_dict())
        assert StylePrompterConfig.from_dict(json.loads(text)) == config


def test_wrong_configs():
    values = CONFIG.to_dict()
    with pytest.raises(StylePrompterError, match="unknown key 'decoder'"):
        StylePrompterConfig.from_dict(values | {"decoder": {}})
    with pytest.raises(StylePrompterError, match="unknown key 'heads'"):
        StylePrompterConfig.from_dict(values | {"smart": {"heads": 4}})
    with pytest.raises(StylePrompterError, match="num_tokens"):
        StylePrompterConfig(SwinConfig(), None, GeneratorConfig(image_size=64))
