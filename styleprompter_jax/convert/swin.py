"""Tables for the encoder: a published checkpoint, and the ImageNet file to start from.

Both use the same keys for the SwinV2 part; the target is the parameters of
``models.swin.SwinEncoder``.
"""

from styleprompter_jax.convert.table import Ignored, Kept, Rule

_BLOCK, _BLOCK_KEY = "layers_{i}_blocks_{j}", "layers.{i}.blocks.{j}"
_LINEAR = "o i -> i o"


def _linear(target, source, bias=True):
    """Rows of a linear layer."""
    kernel = Rule(f"{target}/kernel", f"{source}.weight", _LINEAR)
    return (kernel, Rule(f"{target}/bias", f"{source}.bias")) if bias else (kernel,)


def _norm(target, source):
    """Rows of a LayerNorm."""
    return (
        Rule(f"{target}/scale", f"{source}.weight"),
        Rule(f"{target}/bias", f"{source}.bias"),
    )


_BACKBONE = (
    Rule("patch_embed/proj/kernel", "patch_embed.proj.weight", "o i h w -> h w i o"),
    Rule("patch_embed/proj/bias", "patch_embed.proj.bias"),
    *_norm("patch_embed/norm", "patch_embed.norm"),
    *_norm(f"{_BLOCK}/norm1", f"{_BLOCK_KEY}.norm1"),
    *_norm(f"{_BLOCK}/norm2", f"{_BLOCK_KEY}.norm2"),
    Rule(f"{_BLOCK}/attn/logit_scale", f"{_BLOCK_KEY}.attn.logit_scale", "e 1 1 -> e"),
    Rule(f"{_BLOCK}/attn/q_bias", f"{_BLOCK_KEY}.attn.q_bias"),
    Rule(f"{_BLOCK}/attn/v_bias", f"{_BLOCK_KEY}.attn.v_bias"),
    *_linear(f"{_BLOCK}/attn/cpb_mlp_0", f"{_BLOCK_KEY}.attn.cpb_mlp.0"),
    *_linear(f"{_BLOCK}/attn/cpb_mlp_2", f"{_BLOCK_KEY}.attn.cpb_mlp.2", bias=False),
    *_linear(f"{_BLOCK}/attn/qkv", f"{_BLOCK_KEY}.attn.qkv", bias=False),
    *_linear(f"{_BLOCK}/attn/proj", f"{_BLOCK_KEY}.attn.proj"),
    *_linear(f"{_BLOCK}/mlp/fc1", f"{_BLOCK_KEY}.mlp.fc1"),
    *_linear(f"{_BLOCK}/mlp/fc2", f"{_BLOCK_KEY}.mlp.fc2"),
    *_linear(
        "layers_{i}_downsample/reduction", "layers.{i}.downsample.reduction", bias=False
    ),
    *_norm("layers_{i}_downsample/norm", "layers.{i}.downsample.norm"),
    *(
        Ignored(f"{_BLOCK_KEY}.{table}", "a table that follows from the sizes")
        for table in (
            "attn_mask",
            "attn.relative_coords_table",
            "attn.relative_position_index",
        )
    ),
)

SWIN = (
    Rule("latent_tok", "latent_tok"),
    *_BACKBONE,
    *_linear("dim_up_layers_{i}_0", "dim_up_layers.{i}.0"),
    *_norm("dim_up_layers_{i}_1", "dim_up_layers.{i}.1"),
    *_linear("prediction_head/layers_{i}", "prediction_head.layers.{i}"),
)

_NEW = "no part of a classifier: it keeps its initial value"
_CLASSIFIER = "the classifier's end, which the encoder does without"
SWIN_IMAGENET = (
    *_BACKBONE,
    Kept("latent_tok", _NEW),
    Kept("dim_up_layers_{i}_{j}/{leaf}", _NEW),
    Kept("prediction_head/layers_{i}/{leaf}", _NEW),
    *(
        Ignored(f"{m}.{leaf}", _CLASSIFIER)
        for m in ("norm", "head")
        for leaf in ("weight", "bias")
    ),
)
