"""Public figures of chips, for the least time of a step."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Chip:
    """Dense bfloat16 FLOP/s, memory bytes/s and memory bytes of one chip."""

    flops: float
    bandwidth: float
    memory: float


# By the start of a TPU slice's name; from Google Cloud's page of each version.
CHIPS = {
    "v4": Chip(275e12, 1228e9, 32e9),
    "v5e": Chip(197e12, 819e9, 16e9),
    "v5p": Chip(459e12, 2765e9, 95e9),
    "v6e": Chip(918e12, 1638e9, 32e9),
}
# By the start of `jax.Device.device_kind`, the longer first; GPUs from NVIDIA's data
# sheets (SXM, without sparsity).
PEAK_FLOPS = {
    "TPU v4": CHIPS["v4"].flops,
    "TPU v5 lite": CHIPS["v5e"].flops,
    "TPU v5e": CHIPS["v5e"].flops,
    "TPU v5": CHIPS["v5p"].flops,
    "TPU v6 lite": CHIPS["v6e"].flops,
    "TPU v6e": CHIPS["v6e"].flops,
    "NVIDIA A100": 312e12,
    "NVIDIA H100": 989e12,
    "NVIDIA H200": 989e12,
}


def peak_flops(device_kind: str) -> float | None:
    """Returns the peak bfloat16 FLOP/s of a device; None if unknown."""
    for start, peak in PEAK_FLOPS.items():
        if device_kind.startswith(start):
            return peak
    return None
