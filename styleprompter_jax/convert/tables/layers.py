"""What the tables of the fixed perceptual networks share."""

import dataclasses

from styleprompter_jax.convert.table import Ignored, Row, Rule

CLASSIFIER = "the classifier's end, which features do without"


@dataclasses.dataclass(frozen=True)
class Beside:
    """The second of two published files that hold a network together.

    Attributes:
        key: that it has.
        what: it holds.
        network: what to call the network.
        file: what to call it.
        trunk: what to call the file that it belongs to.
    """

    key: str
    what: str
    network: str
    file: str
    trunk: str


@dataclasses.dataclass(frozen=True)
class Layout:
    """How published files hold a network.

    Attributes:
        table: keys of the file (of a state dict, without any level around it) and
            parameters of the module.
        signature: keys that such files have and those of other networks have not.
        beside: where a second file has the rest.
    """

    table: tuple[Row, ...]
    signature: tuple[str, ...]
    beside: Beside | None = None


def conv(target: str, source: str, bias: bool = False) -> list[Rule]:
    """The rows of a convolution."""
    rows = [Rule(f"{target}/kernel", f"{source}.weight", "o i h w -> h w i o")]
    if bias:
        rows.append(Rule(f"{target}/bias", f"{source}.bias"))
    return rows


def batch_norm(target: str, source: str) -> tuple[Rule | Ignored, ...]:
    """The rows of a BatchNorm with its statistics."""
    return (
        Rule(f"{target}/scale", f"{source}.weight"),
        Rule(f"{target}/bias", f"{source}.bias"),
        Rule(f"{target}/mean", f"{source}.running_mean"),
        Rule(f"{target}/var", f"{source}.running_var"),
        Ignored(f"{source}.num_batches_tracked", "counts steps of training"),
    )
