"""Where in the tree of a file the arrays of a network are."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from styleprompter_jax.convert.reading.unpickle import Object
from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.core.refusal import quoted

_DEPTH = 3  # of dicts in dicts
# What files keep beside the arrays that is used, or of no interest.
_BESIDE = {"latent_avg", "opts"}


class State(NamedTuple):
    """A state dict in a file.

    Attributes:
        arrays: by key, with whatever else lies beside.
        path: keys that lead to it.
        around: the dicts on the way, the nearest last.
    """

    arrays: Mapping[str, Any]
    path: tuple[str, ...]
    around: tuple[Mapping, ...]

    def beside(self, key: str) -> Any:
        """What lies under a key in the dict or in the nearest around it that has it."""
        for tree in (self.arrays, *reversed(self.around)):
            if tree.get(key) is not None:
                return tree[key]
        return None

    def start(self, anchor: str) -> str:
        """What comes before one of the keys that the dict was found by."""
        return prefix(self.arrays, anchor) or ""

    def own(self, start: str) -> dict[str, Any]:
        """The arrays whose keys begin so, by the rest of their keys."""
        return {
            key.removeprefix(start): value
            for key, value in self.arrays.items()
            if key.startswith(start)
        }

    def rest(self, start: str) -> Mapping:
        """The tree of the file without the arrays whose keys begin so."""
        kept = {k: v for k, v in self.arrays.items() if not k.startswith(start)}
        for name, tree in zip(reversed(self.path), reversed(self.around), strict=True):
            outer = {k: kept if str(k) == name else v for k, v in tree.items()}
            kept = {k: v for k, v in outer.items() if v is not kept or kept}
        return kept

    def left_out(self) -> set[str]:
        """What lies around the dict."""
        return {
            str(key)
            for tree, used in zip(self.around, self.path, strict=True)
            for key, value in tree.items()
            if key != used and key not in _BESIDE and value is not None
        }


def find_state(tree: Any, *anchors: str) -> State | None:
    """The state dict that has these keys, each behind a prefix of its own or none.

    It may be the tree or lie in it under any key; of several, it is the moving average
    ("g_ema", "params_ema").

    Raises:
        StylePrompterError: if there are several, and none or many are moving averages.
    """
    found = [
        state
        for state in _states(tree)
        if all(prefix(state.arrays, anchor) is not None for anchor in anchors)
    ]
    averages = [state for state in found if "ema" in "_".join(state.path).lower()]
    chosen = averages if len(found) > 1 and averages else found
    if len(chosen) > 1:
        names = " and ".join(".".join(state.path) or "itself" for state in chosen)
        raise StylePrompterError(
            f"it holds several networks of one kind, as {names}: save the one that is "
            "meant alone."
        )
    return chosen[0] if chosen else None


def prefix(state: Mapping[str, Any], anchor: str) -> str | None:
    """What comes before a key that a network of that kind always has."""
    keys = [key for key in state if key == anchor or key.endswith(f".{anchor}")]
    return min(keys, key=len).removesuffix(anchor) if keys else None


def options(tree: Any) -> Mapping:
    """The options that a checkpoint was trained with."""
    opts = tree.get("opts", {})
    opts = opts.state if isinstance(opts, Object) else opts
    return opts if isinstance(opts, Mapping) else {}


def agree(opts: Mapping, **told: Any) -> None:
    """Refuses a checkpoint whose options say other than its arrays.

    Args:
        opts: the options, of which some may be missing.
        told: what the arrays say, by option.
    """
    for option, value in told.items():
        own = opts.get(option, value)
        if not isinstance(own, int | str) or own != value:
            raise StylePrompterError(
                f"its options say {option} = {quoted(str(own))}, but its weights are "
                f"those of {option} = {value}: the file is mixed up, take another."
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
