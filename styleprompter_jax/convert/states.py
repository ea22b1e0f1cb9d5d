"""Finds the arrays of a network in the tree of a file."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from styleprompter_jax.convert.reading.unpickle import Object
from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.core.refusal import quoted

_DEPTH = 3  # largest depth of nested dicts
# Entries beside the state dict that conversion uses or can ignore.
_BESIDE = {"latent_avg", "opts"}


class State(NamedTuple):
    """A state dict in a file.

    Attributes:
        arrays: the arrays by key, and all other entries of the dict.
        path: the keys that lead to the dict.
        around: the dicts on the way to it, the nearest last.
    """

    arrays: Mapping[str, Any]
    path: tuple[str, ...]
    around: tuple[Mapping, ...]

    def beside(self, key: str) -> Any:
        """Returns the value of a key in the dict, or in the nearest dict around it."""
        for tree in (self.arrays, *reversed(self.around)):
            if tree.get(key) is not None:
                return tree[key]
        return None

    def start(self, anchor: str) -> str:
        """Returns the prefix of ``anchor``, a key that identified the dict."""
        return prefix(self.arrays, anchor) or ""

    def own(self, start: str) -> dict[str, Any]:
        """Returns the arrays with this key prefix; removes the prefix from the keys."""
        return {
            key.removeprefix(start): value
            for key, value in self.arrays.items()
            if key.startswith(start)
        }

    def rest(self, start: str) -> Mapping:
        """Returns the tree of the file without the arrays with this key prefix."""
        kept = {k: v for k, v in self.arrays.items() if not k.startswith(start)}
        for name, tree in zip(reversed(self.path), reversed(self.around), strict=True):
            outer = {k: kept if str(k) == name else v for k, v in tree.items()}
            kept = {k: v for k, v in outer.items() if v is not kept or kept}
        return kept

    def left_out(self) -> set[str]:
        """Returns the names of unused entries in the dicts around it."""
        return {
            str(key)
            for tree, used in zip(self.around, self.path, strict=True)
            for key, value in tree.items()
            if key != used and key not in _BESIDE and value is not None
        }


def find_state(tree: Any, *anchors: str) -> State | None:
    """Finds the state dict that has these keys; each key may have its own prefix.

    The dict may be the tree itself, or be inside it under any key. If several dicts
    match, the function chooses the moving average ("g_ema", "params_ema").

    Raises:
        StylePrompterError: if several dicts match, unless exactly one of them is a
            moving average.
    """
    found = [
        state
        for state in _states(tree)
        if all(_starts(state.arrays, anchor) for anchor in anchors)
    ]
    averages = [state for state in found if "ema" in "_".join(state.path).lower()]
    chosen = averages if len(found) > 1 and averages else found
    _refuse_several(".".join(state.path) or "itself" for state in chosen)
    return chosen[0] if chosen else None


def prefix(state: Mapping[str, Any], anchor: str) -> str | None:
    """Returns the prefix of a key that the network always has; None without the key.

    The keys of several networks may lie in one dict ("G." and "G_ema."): then the
    function chooses the moving average.

    Raises:
        StylePrompterError: if not exactly one of several networks is a moving average.
    """
    starts = sorted(_starts(state, anchor), key=lambda start: start.count("."))
    if not starts:
        return None
    first = starts[0]
    # Layers inside a network may have the name of its first layer.
    rivals = [
        start for start in starts if start == first or not start.startswith(first)
    ]
    averages = [start for start in rivals if "ema" in start.lower()]
    if len(averages) == 1:
        return averages[0]
    # A deeper one belongs to another part, such as a loss.
    depth = first.count(".")
    _refuse_several(s.rstrip(".") for s in rivals if s.count(".") == depth)
    return first


def _starts(state: Mapping[str, Any], anchor: str) -> list[str]:
    """Returns the prefixes of a key that the network always has."""
    keys = (key for key in state if key == anchor or key.endswith(f".{anchor}"))
    return [key.removesuffix(anchor) for key in keys]


def _refuse_several(names: Iterable[str]) -> None:
    listed = [*names]
    if len(listed) > 1:
        raise StylePrompterError(
            f"it holds several networks of one kind, as {' and '.join(listed)}: save "
            "only the network that you need."
        )


def options(tree: Any) -> Mapping:
    """Returns the training options in a checkpoint; {} without options."""
    opts = tree.get("opts", {})
    opts = opts.state if isinstance(opts, Object) else opts
    return opts if isinstance(opts, Mapping) else {}


def agree(opts: Mapping, **told: Any) -> None:
    """Refuses a checkpoint whose options contradict its arrays.

    Args:
        opts: the options; some may be missing.
        told: the values that the arrays imply, by option.

    Raises:
        StylePrompterError: naming the option.
    """
    for option, value in told.items():
        own = opts.get(option, value)
        if not isinstance(own, int | str) or own != value:
            raise StylePrompterError(
                f"its options say {option} = {quoted(str(own))}, but its weights need "
                f"{option} = {value}: the file is inconsistent, so use another file."
            )


def _states(
    tree: Any, path: tuple[str, ...] = (), around: tuple[Mapping, ...] = ()
) -> Iterator[State]:
    if not isinstance(tree, Mapping):
        return
    if all(isinstance(key, str) for key in tree):
        yield State(tree, path, around)
    if len(path) < _DEPTH:
        for key, value in tree.items():
            yield from _states(value, (*path, str(key)), (*around, tree))
