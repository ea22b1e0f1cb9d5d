"""One step on all devices, as in `jax.pmap`, with today's API.

A step is written for one device: it sees its own part of the batch, and averages
gradients and metrics over the axis :data:`AXIS` with `lax.pmean`.  ``map_step``
maps it over a one-axis mesh.  State is replicated; batches are split along their
first axis.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.models.batch_norm import AXIS
from styleprompter_jax.ops.platforms import traced_for


def join_hosts(
    coordinator: str, num_processes: int | None = None, process_id: int | None = None
) -> None:
    """Joins this process to others that train together; call it before other JAX code.

    Args:
        coordinator: "HOST:PORT" of process 0; "auto" if JAX finds the others by
            itself, as on TPU pods and under SLURM.
        num_processes: the number of processes; not for "auto".
        process_id: the number of this process, from 0; not for "auto".

    Raises:
        StylePrompterError: if the processes do not find each other.
    """
    try:
        if coordinator == "auto":
            jax.distributed.initialize()
        else:
            jax.distributed.initialize(coordinator, num_processes, process_id)
    except (RuntimeError, ValueError) as error:
        raise StylePrompterError(
            f"--coordinator={coordinator}: the processes did not find each other "
            f"({str(error).splitlines()[0]}): give each --num_processes and its own "
            "--process_id, or use a cluster that JAX knows."
        ) from error


def is_first() -> bool:
    """Returns whether this process writes for all."""
    return jax.process_index() == 0


def make_mesh(devices: Sequence[jax.Device] | None = None) -> Mesh:
    """Returns a mesh of all devices (of all hosts) along one axis.

    Raises:
        StylePrompterError: if JAX finds no device of the chosen kind, or `devices` is
            empty.
    """
    if devices is not None and len(devices) == 0:
        raise StylePrompterError("devices is empty: give a list of jax.devices().")
    return Mesh(np.array(all_devices() if devices is None else devices), (AXIS,))


def all_devices() -> list[jax.Device]:
    """Returns jax.devices(), of all hosts.

    Raises:
        StylePrompterError: if JAX finds no device of the chosen kind.
    """
    try:
        return jax.devices()
    except (RuntimeError, AssertionError) as error:  # the latter for cuda without CUDA
        # JAX makes these attributes when it is imported.
        kind = jax.config.jax_platforms  # type: ignore[attr-defined]
        raise StylePrompterError(
            f"JAX finds no device of the kind {kind!r}: install "
            "JAX for it, or change JAX_PLATFORMS."
        ) from error


def check_batch_size(batch_size: int, mesh: Mesh) -> None:
    """Raises a StylePrompterError if the devices do not divide the batch."""
    count = mesh.devices.size
    if batch_size % count:
        raise StylePrompterError(
            f"config.batch_size is {batch_size}, which {count} devices do not divide: "
            f"use a multiple of {count}."
        )


def map_step(step: Callable, mesh: Mesh) -> Any:
    """Compiles ``step(state, batch, rng) -> (state, metrics)`` for the mesh.

    The state's buffers are donated.  ``check_vma`` is off: with it on, a replicated
    parameter's gradient is already summed over the devices, and the step's own mean
    would make it too large by their number.
    """
    platform = mesh.devices.flat[0].platform

    @functools.wraps(step)
    def traced(*args: Any) -> Any:
        with traced_for(platform):
            return step(*args)

    mapped = jax.shard_map(
        traced,
        mesh=mesh,
        in_specs=(P(), P(AXIS), P()),
        out_specs=(P(), P()),
        check_vma=False,
    )
    return jax.jit(mapped, donate_argnums=0)


def replicate(tree: Any, mesh: Mesh) -> Any:
    """Places every leaf on all devices (of all hosts, which have equal ones)."""
    sharding = NamedSharding(mesh, P())
    if sharding.is_fully_addressable:
        return jax.device_put(tree, sharding)
    return jax.tree.map(
        lambda x: jax.make_array_from_process_local_data(sharding, np.asarray(x)), tree
    )


def check_step(step: int) -> None:
    """Refuses processes that begin with different steps of the same run."""
    steps = multihost_utils.process_allgather(np.int32(step))
    if np.unique(steps).size > 1:
        raise StylePrompterError(
            f"The processes begin with the steps {', '.join(map(str, steps.ravel()))}, "
            "because the run was still being saved, or one has an old copy: start all "
            "of them again."
        )


def local_copy(tree: Any) -> Any:
    """Returns replicated arrays, on this process's first device alone."""
    return jax.tree.map(lambda x: x.addressable_data(0), tree)


def shard_batch(batch: Any, mesh: Mesh) -> Any:
    """Splits this host's arrays over its devices along the first axis."""
    sharding = NamedSharding(mesh, P(AXIS))
    return jax.tree.map(
        lambda x: jax.make_array_from_process_local_data(sharding, np.asarray(x)), batch
    )


def local_slice(draw: Callable, rng: jax.Array, local_size: int) -> Any:
    """Returns this device's rows of arrays drawn for the whole batch.

    ``draw(rng, global_size)`` gives a tree of arrays; every device draws the same ones
    and keeps its part, so results do not depend on the number of devices.
    """
    index, count = jax.lax.axis_index(AXIS), jax.lax.axis_size(AXIS)
    whole = draw(rng, local_size * count)
    return jax.tree.map(
        lambda x: jax.lax.dynamic_slice_in_dim(x, index * local_size, local_size), whole
    )
