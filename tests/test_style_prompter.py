"""The whole path against a published checkpoint, and the config."""

import json

import numpy as np
import pytest
import quick
import recipe
from conftest import PUBLISHED
from einops import rearrange, reduce

from styleprompter_jax.errors import StylePrompterError
from styleprompter_jax.models.smart import SmartConfig
from styleprompter_jax.models.style_prompter import StylePrompterConfig
from styleprompter_jax.models.stylegan2 import GeneratorConfig
from styleprompter_jax.models.swin import SwinConfig


def half(images):
    """What the fixture holds of an image: means of 2x2 pixels, NCHW."""
    return reduce(np.asarray(images), "b (h y) (w x) c -> b c h w", "mean", y=2, x=2)


@pytest.mark.slow
def test_published_checkpoint(published):
    model, variables = published
    expected = recipe.arrays("styleprompter_256")
    images = recipe.normal(expected["images_seed"], 1, 3, 256, 256)
    images = rearrange(images, "b c h w -> b h w c")
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
        PUBLISHED,
        StylePrompterConfig(None, None, GeneratorConfig(image_size=64)),
        StylePrompterConfig(
            None, SmartConfig((4, 6), attention="softmax"), GeneratorConfig(64)
        ),
    ):
        text = json.dumps(config.to_dict())
        assert StylePrompterConfig.from_dict(json.loads(text)) == config


def test_wrong_configs():
    values = PUBLISHED.to_dict()
    with pytest.raises(StylePrompterError, match="unknown key 'decoder'"):
        StylePrompterConfig.from_dict(values | {"decoder": {}})
    with pytest.raises(StylePrompterError, match="unknown key 'heads'"):
        StylePrompterConfig.from_dict(values | {"smart": {"heads": 4}})
    with pytest.raises(StylePrompterError, match="num_tokens"):
        StylePrompterConfig(SwinConfig(), None, GeneratorConfig(image_size=64))
