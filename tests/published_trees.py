"""Small models as the trees that published files hold."""

import dataclasses

import numpy as np
from conftest import TINY, random_variables

from styleprompter_jax.convert.table import Kept, merge_collections, write_table
from styleprompter_jax.convert.tables.style_prompter import checkpoint_table
from styleprompter_jax.convert.tables.stylegan2 import generator_table
from styleprompter_jax.convert.tables.swin import imagenet_table
from styleprompter_jax.models.refiners.smart import SmartConfig

# Heads are not told by weights: a file is taken to have the published four.
FULL = dataclasses.replace(TINY, refiner=SmartConfig((4,), num_heads=4, ffn_dim=16))
BASELINE = dataclasses.replace(TINY, refiner=None)
GENERATOR = dataclasses.replace(BASELINE, encoder=None)
VARIABLES = random_variables(FULL)


def part(config):
    """The variables of FULL that a smaller model has."""
    kept = {name for name in ("encoder", "smart", "generator") if getattr(config, name)}
    params = {k: v for k, v in VARIABLES["params"].items() if k in kept}
    return {"params": params, "const": VARIABLES["const"]}


def checkpoint(config, module="module."):
    """Returns the tree that torch.save would write for a model, as published."""
    table = checkpoint_table(config, f"encoder.{module}", f"decoder.{module}")
    tree = merge_collections(part(config))
    latent_avg = tree.pop("latent_avg")
    return {"latent_avg": latent_avg, "state_dict": write_table(table, tree)}


def generator_state():
    tree = merge_collections(VARIABLES)["generator"]
    return write_table(generator_table(TINY.generator), tree)


def imagenet_state(encoder=TINY.encoder):
    rows = [row for row in imagenet_table(encoder) if not isinstance(row, Kept)]
    tree = VARIABLES["params"]["encoder"]
    tree = {k: v for k, v in tree.items() if k.startswith(("patch_embed", "layers"))}
    state = write_table(rows, tree)
    return state | {"norm.weight": np.ones(16), "head.bias": np.zeros(1000)}
