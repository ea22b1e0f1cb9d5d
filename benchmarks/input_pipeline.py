"""Measures images per second of the input pipeline alone, and of the training step.

python -m benchmarks.input_pipeline

It measures the stages "encoder" and "smart" of the avatars, 64 px, with their configs.
"""

import time

import jax

from configs import avatars_encoder, avatars_smart
from styleprompter_jax.core.compilation_cache import use_compilation_cache
from styleprompter_jax.data.loader import train_iterator
from styleprompter_jax.data.sources import make_source
from styleprompter_jax.training import loop
from styleprompter_jax.training.run import parallel

SECONDS = 10


def rate(turn, images: int) -> float:
    """Returns images per second of repeated calls of ``turn``, after warm-up."""
    turn(), turn()
    start, turns = time.perf_counter(), 0
    while time.perf_counter() - start < SECONDS:
        turn()
        turns += 1
    return turns * images / (time.perf_counter() - start)


def pipeline(config, workers: int) -> float:
    data = config.data
    batches = train_iterator(
        make_source(data, data.train_split),
        batch_size=config.batch_size,
        image_size=data.image_size,
        flip=data.flip,
        seed=config.seed,
        workers=workers,
    )
    with batches:
        return rate(lambda: next(batches), config.batch_size)


def training_step(config) -> float:
    objective, mesh = (
        loop.make_objective(config, config.batch_size),
        parallel.make_mesh(),
    )
    state = parallel.replicate(objective.init(jax.random.key(0)), mesh)
    step = parallel.map_step(objective.step, mesh)
    shape = (config.batch_size, *2 * (config.data.image_size,), 3)
    batch = parallel.shard_batch(
        {"image": jax.random.uniform(jax.random.key(1), shape)}, mesh
    )

    def turn():
        nonlocal state
        state, metrics = step(state, batch, jax.random.key(2))
        jax.block_until_ready(metrics)

    return rate(turn, config.batch_size)


def main():
    use_compilation_cache()
    alone = {w: pipeline(avatars_encoder.get_config(), w) for w in (0, 2)}
    for workers, found in alone.items():
        print(f"input pipeline, data.workers={workers}: {found:.0f} images a second")
    for module in (avatars_encoder, avatars_smart):
        config = module.get_config()
        config.init_from = "avatars64"
        found = training_step(config)
        print(
            f'training step, stage "{config.stage}": {found:.1f} images a second; '
            f"the pipeline gives {alone[0] / found:.1f} times as many"
        )


if __name__ == "__main__":
    main()
