"""Prints the estimates of docs/scale.md: `python -m benchmarks.scale`.

It multiplies rates that were measured or compiled (docs/performance.md) by the number
of devices, and by a price an hour. It assumes that all devices keep their rate.
"""

import argparse
import dataclasses


@dataclasses.dataclass(frozen=True)
class Machine:
    """A machine or slice.

    Attributes:
        devices: number of devices.
        rates: images a second and device, by the work.
        price: dollars an hour of all devices.
    """

    devices: int
    rates: dict[str, float]
    price: float


# Compiled, so an upper bound: docs/performance.md, and the configs ffhq_*.py. Inversion
# is decoding alone, 2.85 GB of memory traffic at 819 GB/s.
V5E = {
    "encoder": 433 / 8,
    "smart": 674 / 8,
    "inversion": 819 / 2.85,
    "generator": 47 / 8,
    "restyle": 118 / 8,
}
# Measured, in bfloat16, without reading images; SMART on an H200.
H100 = {"encoder": 258, "smart": 359, "inversion": 838}
MACHINES = {
    "v5e-8": Machine(8, V5E, 8 * 1.20),
    "v5e-256": Machine(256, V5E, 256 * 1.20),
    "8 H100": Machine(8, H100, 23.92),
}
IMAGES = 600_000 * 4  # images of configs/ffhq_encoder.py and configs/ffhq_smart.py
GENERATOR = 25_000_000  # images of configs/ffhq_generator.py
RESTYLE = 500_000 * 8  # images of configs/ffhq_restyle.py
WORK = {
    "encoder": ("encoder", IMAGES),
    "SMART": ("smart", IMAGES),
    "ReStyle": ("restyle", RESTYLE),
    "generator": ("generator", GENERATOR),
    "70,000 images": ("inversion", 70_000),
    "100 million images": ("inversion", 100_000_000),
}
CLASS_A, CLASS_B, GIB_MONTH = 0.005 / 1000, 0.0004 / 1000, 2.7397e-5 * 730
SHARD, LISTED = 128, 1000  # images of a shard, objects of a request to list
# Processor seconds of an image of 1024 px: read a PNG, resize it, write a JPEG.
CORE_SECONDS = 0.071 + 0.010 + 0.012
RESULT = 0.51e6 + 18 * 512 * 4  # bytes: a JPEG and the codes


def hours(machine: Machine, kind: str, images: int) -> float:
    """The hours that the devices need."""
    return images / machine.rates[kind] / machine.devices / 3600


def bucket(images: int) -> tuple[int, int, float, float]:
    """Requests of class A and B, their price, and the price of the results a month."""
    a, b = -(-images // SHARD) - (-images // LISTED), images
    month = images * RESULT / 2**30 * GIB_MONTH
    return a, b, a * CLASS_A + b * CLASS_B, month


def main():
    """Prints the rows of both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in MACHINES:
        parser.add_argument(f"--{name.replace(' ', '-')}", type=float, metavar="$/H")
    given = vars(parser.parse_args())
    for work, (kind, images) in WORK.items():
        cells = []
        for name, machine in MACHINES.items():
            if kind not in machine.rates:
                cells.append("")  # nobody has measured it
                continue
            price = given[name.replace(" ", "_").replace("-", "_")] or machine.price
            time = hours(machine, kind, images)
            shown = f"{time:.1f} h" if time >= 1 else f"{time * 60:.1f} min"
            cells.append(f"{shown}, ${time * price:,.2f}")
        print("|", " | ".join([work, *cells]), "|")
    for images in (70_000, 100_000_000):
        a, b, price, month = bucket(images)
        print(
            f"{images:,} images: {a:,} requests of class A, {b:,} of class B, "
            f"${price:,.2f}; results {images * RESULT / 1e12:.2f} TB, ${month:,.2f} a "
            f"month; {images * CORE_SECONDS / 3600:,.0f} core hours"
        )


if __name__ == "__main__":
    main()
