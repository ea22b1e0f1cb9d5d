"""`styleprompter train`: trains a generator, an encoder or SMART."""

import os

from absl import logging

from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.core.paths import local_path
from styleprompter_jax.training.config import get_config, override


def run(args):
    workdir = args.workdir and local_path(args.workdir)
    config = override(get_config(args.config), args.overrides)
    if args.compile_only:
        # The slice's compiler is asked, and no device of this machine's.
        os.environ.setdefault("JAX_PLATFORMS", "cpu")
    # Only now: a wrong call must not wait for JAX.
    from styleprompter_jax.core.compilation_cache import use_compilation_cache
    from styleprompter_jax.training.compile_only import compile_only
    from styleprompter_jax.training.loop import train
    from styleprompter_jax.training.run.parallel import join_hosts

    logging.use_absl_handler()
    logging.set_verbosity(logging.WARNING)
    use_compilation_cache()
    if args.compile_only:
        print(compile_only(config, args.compile_only))
        return
    try:
        if args.coordinator:
            join_hosts(args.coordinator, args.num_processes, args.process_id)
        print(f"The model is in {train(config, workdir)}")
    except KeyboardInterrupt as error:  # before the run began; later, it saves
        raise StylePrompterError("Interrupted before the first step.") from error
