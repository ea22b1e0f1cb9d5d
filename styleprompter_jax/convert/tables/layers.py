"""Rows and layouts that the tables of the fixed perceptual networks share."""

import dataclasses

from styleprompter_jax.convert.table import Ignored, Row, Rule

CLASSIFIER = "the last layer of the classifier, which the features do not need"


@dataclasses.dataclass(frozen=True)
class Beside:
    """The second of two published files that together hold a network.

    Attributes:
        key: a key that this file has.
        what: name of its content in messages.
        network: name of the network in messages.
        file: name of this file in messages.
        trunk: name of the first file in messages.
    """

    key: str
    what: str
    network: str
    file: str
    trunk: str


@dataclasses.dataclass(frozen=True)
class Layout:
    """The layout of a network in published files.

    Attributes:
        table: rows from keys of the state dict, without outer dicts, to parameters of
            the module.
        signature: keys that these files have, and files of other networks lack.
        beside: the second file, if the network needs two.
    """

    table: tuple[Row, ...]
    signature: tuple[str, ...]
    beside: Beside | None = None


def conv(target: str, source: str, bias: bool = False) -> list[Rule]:
    """Returns the rows of a convolution."""
    rows = [Rule(f"{target}/kernel", f"{source}.weight", "o i h w -> h w i o")]
    if bias:
        rows.append(Rule(f"{target}/bias", f"{source}.bias"))
    return rows


def batch_norm(target: str, source: str) -> tuple[Rule | Ignored, ...]:
    """Returns the rows of a BatchNorm with its statistics."""
    return (
        Rule(f"{target}/scale", f"{source}.weight"),
        Rule(f"{target}/bias", f"{source}.bias"),
        Rule(f"{target}/mean", f"{source}.running_mean"),
        Rule(f"{target}/var", f"{source}.running_var"),
        Ignored(f"{source}.num_batches_tracked", "counts steps of training"),
    )
