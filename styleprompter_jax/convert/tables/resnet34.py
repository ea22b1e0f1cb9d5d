"""Tables for ResNet-34: the trunk of ReStyle's encoders, and the file of ImageNet."""

from typing import Any

from styleprompter_jax.convert.found import Found, others_beside, unused
from styleprompter_jax.convert.states import find_state
from styleprompter_jax.convert.table import Ignored, Kept, Row, Rule, prefixed
from styleprompter_jax.convert.tables.layers import CLASSIFIER, batch_norm, conv
from styleprompter_jax.models.encoders.psp import PspConfig
from styleprompter_jax.models.resnet34 import BLOCKS

_BLOCK = (
    *conv("conv1", "conv1"),
    *batch_norm("bn1", "bn1"),
    *conv("conv2", "conv2"),
    *batch_norm("bn2", "bn2"),
    *conv("downsample_0", "downsample.0"),
    *batch_norm("downsample_1", "downsample.1"),
)
_FIRST = (*conv("conv1", "conv1"), *batch_norm("bn1", "bn1"))
TRUNK = (
    *_FIRST,
    Rule("relu/slope", "relu.weight"),
    *prefixed(_BLOCK, "body_{i}/", "body.{i}."),
)

_ANCHORS = "layer1.0.conv1.weight", "layer4.2.bn2.weight"
_NEW = "a classifier does not have it: it keeps its initial value"


def _imagenet_table() -> tuple[Row, ...]:
    """Returns the rows for a classifier's file, to start an encoder from."""
    places = [(s + 1, k) for s, count in enumerate(BLOCKS) for k in range(count)]
    blocks = [
        row
        for i, (s, k) in enumerate(places)
        for row in prefixed(_BLOCK, f"body_{i}/", f"layer{s}.{k}.")
    ]
    # NOTE(reference): an encoder with passes reads six channels, so its first layers
    # get new values. The published code does the same for any number of channels.
    new = ("conv1/{leaf}", "bn1/{leaf}", "relu/{leaf}", "coarse/{layer}/{leaf}")
    return (
        *blocks,
        *(Kept(target, _NEW) for target in new),
        *(
            Ignored(row.source, "an encoder's first layers are its own")
            for row in _FIRST
        ),
        Ignored("fc.{leaf}", CLASSIFIER),
    )


def recognise(tree: Any) -> Found | None:
    """Recognises torchvision's ResNet-34 of ImageNet, to start ReStyle from."""
    found = find_state(tree, *_ANCHORS)
    if found is None or found.start(_ANCHORS[0]) != found.start(_ANCHORS[1]):
        return None
    state, start = found.arrays, found.start(_ANCHORS[0])
    if f"{start}layer1.0.conv3.weight" in state:  # ResNet-50 and deeper networks
        return None
    config = PspConfig("ResNetBackboneEncoder", input_channels=6, passes=5)
    arrays = {key: value for key, value in state.items() if key.startswith(start)}
    return Found(
        "ResNet-34 of ImageNet to start an encoder of ReStyle from, "
        f"{config.image_size} px",
        arrays,
        prefixed(_imagenet_table(), "encoder/", start),
        encoder=config,
        is_start=True,
        notes=unused(others_beside(state, start) | found.left_out()),
    )
