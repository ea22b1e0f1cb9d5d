"""Ten steps of the small encoders that `torch_heads` trains, as ours makes them.

    PYTHONPATH=. python tests/heads_training.py --draws  # tests/data/heads_draws.npz

writes what the steps leave to chance; without an option, how far each number is from
that of PyTorch is printed, in float64.
"""

import argparse
import tempfile
from pathlib import Path

import jax
import numpy as np
import recipe
from einops import rearrange

from styleprompter_jax.convert.model import build_model
from styleprompter_jax.convert.recognise import recognise
from styleprompter_jax.convert.table import merge_collections, prefixed, write_table
from styleprompter_jax.convert.tables.psp import encoder_table
from styleprompter_jax.store.model_folder import save_model
from styleprompter_jax.training.config import get_config
from styleprompter_jax.training.objectives.critic import KINDS
from styleprompter_jax.training.objectives.inversion import Inversion
from styleprompter_jax.training.run import parallel

CASES = {"train_e4e": "avatars_e4e", "train_restyle": "avatars_restyle:e4e"}
STEPS, BATCH = 10, 8
SIZES = {"widths": (4, 8, 12, 16), "blocks": (1, 1, 1, 1)}


class Heads:
    """One case, from the recipe's weights.  In JAX's 64-bit mode.

    Args:
        case: of `CASES`.
        root: an empty folder.
        devices: how many share the batch.
        platform: for which the step is traced; by default the one that runs it.
    """

    def __init__(self, case, root, devices=1, platform=None):
        manifest, state = recipe.manifest(case), recipe.state_dict(case)
        self.seed = manifest["image_seed"]
        critic = {k: state.pop(k) for k in list(state) if k.startswith("discriminator")}
        mean = np.tile(state.pop("latent_avg"), (8, 1))
        tree = {"state_dict": state, "latent_avg": mean, "opts": manifest["opts"]}
        model, variables, *_ = build_model({case: recognise(tree, case)})
        save_model(root / "start", model, variables)

        config = get_config(CASES[case])
        config.batch_size, config.total_steps = BATCH, STEPS
        config.init_from, config.init_encoder = str(root / "start"), True
        config.data.image_size = 32
        config.model.encoder.update(SIZES)
        if "passes" in config.model.encoder:
            config.model.encoder.passes = 3
        config.loss.update(delta_start=3, delta_every=1, pool_size=6, r1_every=4)
        self.objective = Inversion(config, platform=platform)
        self._mesh = parallel.make_mesh(jax.devices()[:devices])
        state = self.objective.init(jax.random.key(0))
        params = {
            f"mlp_{k}": {
                "kernel": critic[f"discriminator.mlp.{2 * k}.weight"].T,
                "bias": critic[f"discriminator.mlp.{2 * k}.bias"],
            }
            for k in range(4)
        }
        state["critic"] |= {"params": params}
        self.place(jax.tree.map(_wide, state))
        self._step = parallel.map_step(self.objective.step, self._mesh)

    def place(self, state):
        """Goes on from a state."""
        self.state = parallel.replicate(state, self._mesh)

    def run(self, first=0):
        """The numbers of each step from ``first`` on, as they are made."""
        for step in range(first, STEPS):
            self.state, metrics = self._step(self.state, *self._drawn(step))
            yield jax.tree.map(float, metrics)

    def program(self):
        """The step as text, before it is compiled."""
        return self._step.lower(self.state, *self._drawn(0)).as_text()

    def _drawn(self, step):
        noise = recipe.normal(self.seed + step, BATCH, 3, 32, 32)
        images = rearrange(np.clip(0.5 * noise, -1, 1), "b c h w -> b h w c")
        batch = parallel.shard_batch({"image": images.astype(float)}, self._mesh)
        return batch, jax.random.key(step)

    def arrays(self):
        """The state as PyTorch has it."""
        const = self.state["const"]["encoder"]
        tree = merge_collections({"params": self.state["trained"], "const": const})
        table = encoder_table(self.objective.model_config.encoder)
        found = write_table(prefixed(table, source="encoder."), tree)
        critic = self.state["critic"]
        for k, layer in enumerate(critic["params"].values()):
            found[f"discriminator.mlp.{2 * k}.weight"] = np.asarray(layer["kernel"]).T
        return found | {f"pool_{k}": critic["pools"][k]["codes"] for k in KINDS}


def _wide(leaf):
    # A copy, since the step takes its state's memory.
    is_float = np.issubdtype(leaf.dtype, np.floating)
    return np.array(leaf, float if is_float else leaf.dtype)


def differences(rows, heads, case):
    """By name the largest relative difference from PyTorch's numbers.

    Args:
        rows: of ten steps.
        heads: after them.
        case: of `CASES`.
    """
    found = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    found |= heads.arrays()
    with np.load(recipe.DATA / "torch_heads.npz") as file:
        expected = {
            key.removeprefix(f"{case}/"): file[key] for key in file if case in key
        }
    for name, values in expected.items():
        yield name, recipe.relative_error(found[name], values)


def draws(heads):
    """What ten steps leave to chance, by name, a row a step."""
    rows = []
    for step in range(STEPS):
        rng = jax.random.split(jax.random.key(step))[1]
        found = heads.objective._critic.draw(rng, BATCH)
        for kind in KINDS:
            found |= {f"{kind}_{k}": v for k, v in found.pop(kind).items()}
        rows.append(found)
    return {name: np.stack([row[name] for row in rows]) for name in rows[0]}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--draws", action="store_true")
    args = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    for case in CASES:
        with tempfile.TemporaryDirectory() as folder:
            heads = Heads(case, Path(folder))
        if args.draws:
            np.savez_compressed(recipe.DATA / "heads_draws.npz", **draws(heads))
            return
        for name, error in differences(list(heads.run()), heads, case):
            print(case, name, f"{error:.1e}", flush=True)


if __name__ == "__main__":
    main()
