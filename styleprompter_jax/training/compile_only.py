"""Predicts whether a run fits a TPU slice, without the slice.

The slice's own compiler (extra ``tpu``; no TPU is needed) compiles the real training
step for it, and reports the memory and the time that a step takes on each chip.
"""

import dataclasses
import os
from functools import partial
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.core.values import plural
from styleprompter_jax.data.loader import picture_size
from styleprompter_jax.training.objective import make_objective
from styleprompter_jax.training.run import parallel
from styleprompter_jax.training.run.hardware import CHIPS, Chip
from styleprompter_jax.training.settings import check_settings
from styleprompter_jax.training.start import describe_start


@dataclasses.dataclass(frozen=True)
class Estimate:
    """The memory and time of one training step, as the compiler predicts them.

    Attributes:
        slice_name: version and topology, for example "v5e:2x4".
        chips: number of chips of the slice.
        images: images per chip and step.
        memory: the step's peak use of a chip's memory, in bytes.
        flops, bytes: FLOPs per image, and bytes moved per image.
    """

    slice_name: str
    chips: int
    images: int
    memory: float
    flops: float
    bytes: float

    @property
    def chip(self) -> Chip:
        """The figures of the slice's chip."""
        return CHIPS[self.slice_name.partition(":")[0]]

    @property
    def fits(self) -> bool:
        """Whether a chip's memory holds the step."""
        return self.memory <= self.chip.memory

    @property
    def seconds(self) -> tuple[float, float]:
        """Least seconds per image on a chip: for arithmetic, and for memory traffic."""
        return self.flops / self.chip.flops, self.bytes / self.chip.bandwidth

    def __str__(self) -> str:
        compute, traffic = self.seconds
        bound = "arithmetic" if compute > traffic else "memory traffic"
        rate = 1 / max(compute, traffic)
        return (
            f"{self.slice_name}: {self.chips} chips, {self.images} images a chip and "
            "step\n"
            f"memory a chip: {self.memory / 1e9:.3g} GB of {self.chip.memory / 1e9:.0f}"
            f" GB: it {'fits' if self.fits else 'does not fit'}\n"
            f"an image: {self.flops / 1e9:.3g} GFLOP, {self.bytes / 1e9:.3g} GB moved\n"
            f"roofline, an image and chip: {compute * 1e3:.3g} ms of arithmetic, "
            f"{traffic * 1e3:.3g} ms of memory traffic\n"
            f"so at most {rate * self.chips:.0f} images a second, bound by {bound}"
        )


def compile_only(config: Any, slice_name: str) -> Estimate:
    """Compiles a run's step for a slice, without data.

    It reads no weights, except those that stage "generator" starts from.

    Args:
        config: the run's config; its batch_size is the whole slice's.  ``config.model``
            describes the given parts too.
        slice_name: version and topology: "v5e:2x4", "v5p:2x2x2", "v6e:2x4", ...

    Raises:
        StylePrompterError: for an unknown slice, for a config that training refuses,
            for a part that ``config.model`` does not describe, for a batch that its
            chips do not divide, for a step far larger than a chip's memory, or if the
            extra "tpu" is not installed.
    """
    mesh = parallel.make_mesh(_devices(slice_name))
    step = lowered(config, mesh)
    images_a_chip = config.batch_size // mesh.devices.size
    try:
        compiled = step.compile()
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        # The compiler gives up on a step that is far too large.
        advice = "lower config.batch_size" if images_a_chip > 1 else "use larger chips"
        raise StylePrompterError(
            f"{slice_name}: a step of {plural(images_a_chip, 'image')} a chip does not "
            f"fit: {advice}. The compiler says: {_first_line(error)}"
        ) from error
    memory, cost = compiled.memory_analysis(), compiled.cost_analysis()
    return Estimate(
        slice_name,
        mesh.devices.size,
        images_a_chip,
        memory.argument_size_in_bytes
        + memory.output_size_in_bytes
        - memory.alias_size_in_bytes
        + memory.temp_size_in_bytes
        + memory.generated_code_size_in_bytes,
        cost["flops"] / images_a_chip,
        cost["bytes accessed"] / images_a_chip,
    )


def lowered(config: Any, mesh: Mesh) -> Any:
    """Traces the usual step of a run on a mesh; reads what `compile_only` reads.

    Returns:
        The result of `lower` of a jitted function.

    Raises:
        StylePrompterError: as for `compile_only`.
    """
    check_settings(config)
    parallel.check_batch_size(config.batch_size, mesh)
    local_batch_size = config.batch_size // mesh.devices.size
    objective = make_objective(config, local_batch_size, describe_start, "tpu")
    on_all, split = (NamedSharding(mesh, spec) for spec in (P(), P(parallel.AXIS)))

    def abstract(tree: Any, sharding: Any) -> Any:
        return jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), tree
        )

    rng = jax.eval_shape(lambda: jax.random.key(0))
    shapes = {"image": (*np.broadcast_to(picture_size(config.data), 2), 3)}
    if objective.inputs:
        shapes["input"] = objective.inputs.shape
    batch = {
        name: jax.ShapeDtypeStruct((config.batch_size, *shape), np.float32)
        for name, shape in shapes.items()
    }
    # Step 1: lazy regularisers, which run at step 0, are not the usual step's.
    step = parallel.map_step(
        partial(objective.step, variant=objective.variant(1)), mesh
    )
    return step.lower(
        abstract(jax.eval_shape(objective.init, rng), on_all),
        abstract(batch, split),
        abstract(rng, on_all),
    )


def _devices(slice_name: str) -> Any:
    """Returns the devices of a slice that this machine does not have."""
    version = slice_name.partition(":")[0]
    if version not in CHIPS:
        raise StylePrompterError(
            f"--compile_only={slice_name} does not name a TPU slice: write version "
            f"and topology, as in v5e:2x4; the versions are {', '.join(CHIPS)}."
        )
    # The compiler asks its cloud machine for its topology; this machine has none.
    os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
    # This process holds no device, so other processes may use the compiler too.
    os.environ.setdefault("ALLOW_MULTIPLE_LIBTPU_LOAD", "1")
    from jax.experimental import topologies

    try:
        return topologies.get_topology_desc(
            platform="tpu", topology_name=slice_name
        ).devices
    except Exception as error:  # of whatever kind the plug-in raises
        raise StylePrompterError(
            f"--compile_only={slice_name}: the TPU compiler does not know this slice, "
            "or is not installed (pip install -e .[tpu]): "
            f"{_first_line(error)}"
        ) from error


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else repr(error)
