"""The second step of reading a pickle: converts its value to a tree of plain data."""

from typing import Any

from styleprompter_jax.convert.reading.unpickle import Budget, Object, Placeholder
from styleprompter_jax.core.refusal import DAMAGED, Refusal, quoted

_NODES = 1_000_000  # largest number of entries; shared ones count at each place
_DEPTH = 64


def resolve(value: Any, budget: Budget) -> Any:
    """Returns the tree of a pickle, with arrays instead of placeholders.

    The tree shares the objects that the pickle shares. It is finite: no container
    contains itself, and a walk through the tree finds at most a million entries, and
    arrays of at most 16 times the size of the file.

    Raises:
        Refusal: naming the key.
    """
    resolver = _Resolver(budget)
    try:
        return resolver.resolve(value)
    except Refusal as error:
        key = ".".join(map(str, resolver.path))
        raise Refusal(f"at {quoted(key)}, {error}" if key else str(error)) from error


class _Resolver:
    def __init__(self, budget: Budget):
        self.budget = budget
        self.path: list = []
        self.nodes = 0
        # By id: the original (to keep it alive), the result, and its entries and bytes.
        self.done: dict[int, tuple[Any, Any, int, int]] = {}
        self.active: set[int] = set()

    def resolve(self, value: Any) -> Any:
        self._count(1, 0)
        if value is None or type(value) in (bool, int, float, str, bytes):
            return value
        if (known := self.done.get(id(value))) is not None:
            _, result, nodes, size = known
            self._count(nodes, size)
            return result
        if id(value) in self.active or len(self.path) > _DEPTH:
            raise Refusal(
                "containers contain themselves, or are nested more than "
                f"{_DEPTH} deep; no weight file needs that: do not use this file."
            )
        self.active.add(id(value))
        nodes, size = self.nodes, self.budget.bytes
        result = self._convert(value)
        self.active.remove(id(value))
        self.done[id(value)] = (
            value,
            result,
            self.nodes - nodes,
            size - self.budget.bytes,
        )
        return result

    def _count(self, nodes: int, size: int) -> None:
        self.nodes += nodes
        self.budget.spend_bytes(size)
        if self.nodes > _NODES:
            raise Refusal(
                f"it unfolds to more than {_NODES:,} entries; no weight file needs "
                "that: do not use this file."
            )

    def _convert(self, value: Any) -> Any:
        if type(value) is dict:
            return {key: self.entry(key, item) for key, item in value.items()}
        if type(value) in (list, tuple):
            items = (self.entry(i, item) for i, item in enumerate(value))
            return type(value)(items)
        if type(value) is Object:
            return Object(value.type, self.entry("state", value.state))
        if type(value) is memoryview:
            self.budget.spend_bytes(len(value))
            return bytes(value)
        if isinstance(value, Placeholder):
            return value.resolve(self)
        raise Refusal(f"it is a name instead of a value; {DAMAGED}")

    def entry(self, key: Any, value: Any) -> Any:
        """Resolves a part of a container; messages name its key."""
        self.path.append(key)
        result = self.resolve(value)
        self.path.pop()
        return result
