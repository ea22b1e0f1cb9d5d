"""Perceptual losses: distances between features of fixed networks.

Each loss is a row of `PERCEPTUAL`. All other code reads these rows: the keys of
configs, the folders of networks, conversion, the stages of training, and the metrics of
evaluation. The architecture of a network is in `models/perceptual/`. The layout of its
published files is in `convert/tables/KIND.py`.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
import numpy as np
from jax import lax

from styleprompter_jax.models.perceptual import lpips
from styleprompter_jax.models.perceptual.arcface import ArcFace
from styleprompter_jax.models.perceptual.layers import cosine_distance
from styleprompter_jax.models.perceptual.lpips import Lpips
from styleprompter_jax.models.perceptual.moco import MoCo


@dataclasses.dataclass(frozen=True)
class Network:
    """A fixed network: images (b, h, w, 3) in [-1, 1] to features.

    Attributes:
        kind: the purpose of the network; networks of one kind can replace each other.
        title: the name of the network in messages.
        module: the Flax module.
    """

    kind: str
    title: str
    module: nn.Module

    def shapes(self) -> dict:
        """Returns the shapes of the module's variables."""
        images = jax.ShapeDtypeStruct((1, 256, 256, 3), np.float32)
        return jax.eval_shape(self.module.init, jax.random.key(0), images)


@dataclasses.dataclass(frozen=True)
class Perceptual:
    """A perceptual loss.

    Attributes:
        metric: the name of the loss in evaluation.
        distance: a function of the features of two batches, which returns (b,).
        networks: the networks that the loss can use, by name; all have one kind.
        is_similarity: whether evaluation reports 1 - distance.
        of_refiner: fields of the network that differ in the training of a refiner.
    """

    metric: str
    distance: Callable
    networks: Mapping[str, Network]
    is_similarity: bool = False
    of_refiner: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def kind(self) -> str:
        """The kind of the network that the loss needs."""
        return next(iter(self.networks.values())).kind

    def trained_on(self, module: nn.Module, part: str) -> nn.Module:
        """Returns the form of a network to train a part: "encoder" or a refiner."""
        return module if part == "encoder" else module.clone(**self.of_refiner)

    def score(self, a: Any, b: Any) -> jax.Array:
        """Computes the metric of evaluation from features of two batches, (b,)."""
        distance = self.distance(a, b)
        return 1 - distance if self.is_similarity else distance


# By the name of its weight in a config.
PERCEPTUAL = {
    "lpips": Perceptual(
        "lpips",
        lpips.distance,
        {
            "lpips_alex": Network("lpips", "LPIPS on AlexNet", Lpips("alex")),
            "lpips_vgg": Network("lpips", "LPIPS on VGG-16", Lpips("vgg")),
            "lpips_squeeze": Network("lpips", "LPIPS on SqueezeNet", Lpips("squeeze")),
        },
    ),
    "id": Perceptual(
        "id_similarity",
        cosine_distance,
        {"arcface": Network("arcface", "ArcFace IR-SE50", ArcFace())},
        is_similarity=True,
        # Training of details uses five levels; metrics compare only embeddings.
        of_refiner={"multi_level": True},
    ),
    "moco": Perceptual(
        "moco_similarity",
        cosine_distance,
        {"moco": Network("moco", "MoCo-v2 ResNet-50", MoCo())},
        is_similarity=True,
    ),
}


def distances(
    name: str, features: Callable, output: jax.Array, target: jax.Array
) -> jax.Array:
    """Computes a distance of `PERCEPTUAL` between the features of two batches.

    Args:
        name: the name of the loss.
        features: the network with its parameters: images -> features.
        output: images.
        target: images; no gradient flows through their features.

    Returns:
        (b,)
    """
    distance = PERCEPTUAL[name].distance
    return distance(features(output), lax.stop_gradient(features(target)))
