"""Table for MoCo-v2's ResNet-50, from the checkpoints of its authors."""

from styleprompter_jax.convert.table import Ignored, prefixed
from styleprompter_jax.convert.tables.layers import Layout, batch_norm, conv

_RESNET = (
    *conv("conv1", "conv1"),
    *batch_norm("bn1", "bn1"),
    *(
        row
        for k in (1, 2, 3)
        for row in (
            *conv(f"layer{{s}}_{{i}}/conv{k}", f"layer{{s}}.{{i}}.conv{k}"),
            *batch_norm(f"layer{{s}}_{{i}}/bn{k}", f"layer{{s}}.{{i}}.bn{k}"),
        )
    ),
    *conv("layer{s}_{i}/downsample_0", "layer{s}.{i}.downsample.0"),
    *batch_norm("layer{s}_{i}/downsample_1", "layer{s}.{i}.downsample.1"),
)
_HEAD = tuple(  # the heads of MoCo v1 and v2
    Ignored(f"{fc}.{leaf}", "the head for the contrastive loss")
    for fc in ("fc", "fc.{i}")
    for leaf in ("weight", "bias")
)
_MOCO = (
    *prefixed((*_RESNET, *_HEAD), source="module.encoder_q."),
    *(
        Ignored(f"module.encoder_k.{row.source}", "the momentum encoder")
        for row in (*_RESNET, *_HEAD)
    ),
    Ignored("module.queue", "the keys of the last batches"),
    Ignored("module.queue_ptr", "a position in the queue"),
)

LAYOUTS = {"moco": Layout(_MOCO, ("module.encoder_q.conv1.weight",))}
