"""Runs the two stages of the published training with our code.

    PYTHONPATH=. python tests/published_training.py train_full
    PYTHONPATH=. python tests/published_training.py train_full --damped
    PYTHONPATH=. python tests/published_training.py train_full --damped --dtype=float64

The program prints ten steps, and the distance of each number from the record. With
``--damped``, it prints the distance from the results of `torch_training` with the same
weights.
"""

import argparse
import tempfile
from pathlib import Path

import jax
import numpy as np
import recipe
from conftest import write_published
from einops import rearrange

from styleprompter_jax.configs import ffhq_encoder, ffhq_smart
from styleprompter_jax.convert.tables.perceptual import read_network
from styleprompter_jax.store import network_folder
from styleprompter_jax.store.model_folder import load_model
from styleprompter_jax.training.objectives.inversion import Inversion
from styleprompter_jax.training.run import parallel

CASES = {"train_baseline": ffhq_encoder, "train_full": ffhq_smart}
STEPS = 10


class PublishedTraining:
    """One stage, from the fixture's weights, on one device and for one image a step.

    Args:
        case: of `CASES`.
        model: folder of the whole model.
        root: an empty folder, for those of the networks.
        learning_rate: the config's where not given.
    """

    def __init__(self, case, model, root, learning_rate=None, dtype=np.float32):
        self.case, self.dtype = case, dtype
        self.seed = int(recipe.arrays(case)["image_seed"])
        self._mesh = parallel.make_mesh(jax.devices()[:1])
        config = CASES[case].get_config()
        config.batch_size = 1
        config.learning_rate = learning_rate or config.learning_rate
        config.optimizer.centralize_logit_scale = True
        config.init_from = str(model)
        for loss, name in (("lpips", "lpips_alex"), ("id", "arcface")):
            network_folder.save_network(root / name, name, _network(name))
            config.loss[f"{loss}_weights"] = str(root / name)
        if case == "train_baseline":
            config.model.encoder.drop_path = 0.0
        else:
            config.model.smart.dropout = 0.0
        objective = Inversion(config)
        state = objective.init(jax.random.key(0))
        trained = load_model(model)[1]["params"][objective.part]
        state |= {"trained": trained, "opt": objective.optimizer.init(trained)}
        self._start = jax.tree.map(np.asarray, state)
        self._step = parallel.map_step(objective.step, self._mesh)

    def run(self, damped=False):
        """Losses and gradient norm of each step, as they are made."""
        start = self._start
        if damped:
            face = {"params": _network("arcface", recipe.damped)}
            start = start | {"networks": start["networks"] | {"id": face}}
        state = parallel.replicate(jax.tree.map(self._cast, start), self._mesh)
        for t in range(STEPS):
            noise = recipe.normal(self.seed + t, 1, 3, 256, 256)
            images = rearrange(np.clip(0.5 * noise, -1, 1), "b c h w -> b h w c")
            batch = {"image": images.astype(self.dtype)}
            state, metrics = self._step(state, batch, jax.random.key(0))
            yield jax.tree.map(float, metrics)

    def _cast(self, leaf):
        # A copy, since the step takes its state's memory.
        is_float = np.issubdtype(leaf.dtype, np.floating)
        return np.array(leaf, self.dtype if is_float else leaf.dtype)


def expected(case, damped=False):
    """The numbers that PyTorch gave for ten steps, by name."""
    if not damped:
        found = recipe.arrays(case)
        return {k: v for k, v in found.items() if k.startswith(("loss", "grad"))}
    found = recipe.arrays("torch_training")
    return {
        k.removeprefix(f"{case}_"): v for k, v in found.items() if k.startswith(case)
    }


def _network(name, change=lambda state: state):
    case = "ir_se50" if name == "arcface" else name
    return read_network(name, change(recipe.state_dict(case)))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("case", choices=CASES)
    parser.add_argument("--damped", action="store_true")
    parser.add_argument("--dtype", choices=("float32", "float64"), default="float32")
    args = parser.parse_args()
    jax.config.update("jax_enable_x64", args.dtype == "float64")
    beside = expected(args.case, args.damped)
    lr = None if args.damped else float(recipe.arrays(args.case)["lr"])
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        model = write_published(root)
        training = PublishedTraining(args.case, model, root, lr, np.dtype(args.dtype))
    for t, found in enumerate(training.run(args.damped)):
        cells = (
            f"{name} {value:.9g} ({value / beside[name][t] - 1:+.1e})"
            for name, value in found.items()
        )
        print(t, ", ".join(cells), flush=True)


if __name__ == "__main__":
    main()
