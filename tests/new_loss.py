"""A perceptual loss that the package does not know: its network, table and row.

    python new_loss.py MODEL FOLDER

It goes through conversion, a config, training and evaluation.  A process of its own:
the rows are read when modules are imported.
"""

import json
import sys
from pathlib import Path
from types import ModuleType

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import safetensors.numpy

from styleprompter_jax.losses import PERCEPTUAL, Network, Perceptual


class Patches(nn.Module):
    """One convolution."""

    @nn.compact
    def __call__(self, images):
        return nn.Conv(4, (8, 8), (8, 8), name="conv")(images)


def distance(a, b):
    return jnp.mean((a - b) ** 2, (1, 2, 3))


PERCEPTUAL["patches"] = Perceptual(
    "patch_distance",
    distance,
    {"patches_8": Network("patches", "patches of 8 px", Patches())},
)

from styleprompter_jax.convert.table import Rule  # noqa: E402
from styleprompter_jax.convert.tables.layers import Layout  # noqa: E402

table = (
    Rule("conv/kernel", "patch.weight", "o i h w -> h w i o"),
    Rule("conv/bias", "patch.bias"),
)
module = ModuleType("styleprompter_jax.convert.tables.patches")
module.LAYOUTS = {"patches_8": Layout(table, ("patch.weight",))}
sys.modules[module.__name__] = module

from configs import tiny  # noqa: E402
from styleprompter_jax.cli import main  # noqa: E402
from styleprompter_jax.evaluation.evaluate import measure  # noqa: E402
from styleprompter_jax.inversion.pipeline import load  # noqa: E402
from styleprompter_jax.store.network_folder import load_network  # noqa: E402
from styleprompter_jax.training import loop  # noqa: E402


def run(model: str, root: Path):
    jax.config.update("jax_disable_most_optimizations", True)
    rng = np.random.default_rng(0)
    arrays = {"weight": rng.standard_normal((4, 3, 8, 8)), "bias": np.zeros(4)}
    arrays = {f"patch.{k}": v.astype(np.float32) for k, v in arrays.items()}
    safetensors.numpy.save_file(arrays, root / "patches.safetensors")
    folder = root / "patches"
    assert main(["convert", str(root / "patches.safetensors"), str(folder)]) == 0

    config = tiny.get_config("encoder")
    config.init_from = model
    config.total_steps = config.eval_every = 1
    with config.unlocked():
        config.loss.update(patches=0.5, patches_weights=str(folder))
    loop.train(config, root / "run", devices=jax.devices()[:1])
    rows = (root / "run" / "metrics.jsonl").read_text().splitlines()
    found = {key for row in rows for key in json.loads(row)}
    assert {"loss_patches", "patch_distance_w_plus"} <= found, found

    images = rng.uniform(-1, 1, (2, 32, 32, 3)).astype(np.float32)
    networks = {"patches": load_network(folder, "patches")}
    measured = measure(load(model), [images], networks=networks)
    values = measured.values["unquantised"]["w_plus"]["patch_distance"]
    outputs = load(model).invert(images, refine=False)[0]
    module, variables = networks["patches"]
    features = (module.apply(variables, x) for x in (outputs, images))
    np.testing.assert_allclose(values, distance(*features), rtol=1e-4)


if __name__ == "__main__":
    run(sys.argv[1], Path(sys.argv[2]))
