"""The devices of a model: one, or several of this host that share each batch.

Parameters are on all devices, and the rows of a batch are split among them. XLA
partitions a program by its inputs, so no program knows the devices.

Axes: b rows of a batch.
"""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from styleprompter_jax.core.batches import pad
from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.core.values import shown
from styleprompter_jax.models.batch_norm import AXIS


def of_this_host() -> Sequence[jax.Device] | None:
    """Returns all devices of this host, as commands use them.

    None stands for JAX's default device: if there is no other, or if
    `jax_default_device` names one.
    """
    # JAX makes these attributes when it is imported.
    chosen = jax.config.jax_default_device  # type: ignore[attr-defined]
    found = jax.local_devices()
    return found if chosen is None and len(found) > 1 else None


class Devices:
    """Places arrays on the devices of a model.

    Args:
        devices: devices of this host; None for JAX's default device.

    Raises:
        StylePrompterError: if these are not devices of this host.
    """

    def __init__(self, devices: Sequence[jax.Device] | None = None):
        self._mesh = None
        if devices is None:
            return
        usable = isinstance(devices, Sequence) and len(devices) > 0
        if not usable or not set(devices) <= set(jax.local_devices()):
            raise StylePrompterError(
                f"devices is {shown(devices)}: give a list of jax.local_devices()."
            )
        self._mesh = Mesh(np.array(devices), (AXIS,))

    @property
    def count(self) -> int:
        """The number of devices."""
        return 1 if self._mesh is None else self._mesh.devices.size

    def replicate(self, tree: Any) -> Any:
        """Places each array on all devices."""
        return jax.device_put(tree, self._sharding(P()))

    def split(self, tree: Any) -> Any:
        """Splits the rows of each array (b, ...) over the devices, and leaves ().

        It repeats the last row until the devices divide b; `cut` removes these rows.
        """
        if self._mesh is None:
            return tree

        def split_one(array: Any) -> Any:
            if not array.ndim:
                return array
            if len(array) % self.count:
                rows = -(-len(array) // self.count) * self.count
                array = pad(np.asarray(array), rows)
            return jax.device_put(array, self._sharding(P(AXIS)))

        return jax.tree.map(split_one, tree)

    def cut(self, tree: Any, batch: int) -> Any:
        """Returns the first rows of each array (b, ...), without those of `split`."""
        return jax.tree.map(lambda x: x if len(x) == batch else x[:batch], tree)

    def _sharding(self, spec: P) -> NamedSharding | None:
        return None if self._mesh is None else NamedSharding(self._mesh, spec)
