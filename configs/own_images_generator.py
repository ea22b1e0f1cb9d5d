"""A generator for your own images, from an existing generator or from random weights.

    python train.py --config=configs/own_images_generator.py \
        --workdir=runs/own_images_generator --config.data.path=FOLDER

FOLDER holds the images at any depth. This run starts from the
bundled generator of 64 px. To start from a published one, which is larger and was
trained on photographs, convert it and name the size of its images, for example 256:

    styleprompter convert SNAPSHOT.pkl runs/start
    ... --config.init_from=runs/start --config.data.image_size=256

SNAPSHOT.pkl contains both networks: a snapshot of NVIDIA's code (G_ema and D), or a
checkpoint of rosinality's (g_ema and d). The architecture comes from this file. For few
images, add --config.optimizer.frozen_blocks=3, which keeps the blocks of the
discriminator with the most pixels. To start from random weights, at 64 px, which needs
more images:

    python train.py --config=configs/own_images_generator.py:new ...

The run trains on all images, and the Frechet distance compares with all. The
augmentation of the images that the discriminator sees follows the discriminator:
metrics.jsonl has its probability, augment_p. docs/training.md has a run on 300 images;
:new is not yet run.
"""

from ml_collections import ConfigDict

from styleprompter_jax.configs import avatars_generator
from styleprompter_jax.core.errors import StylePrompterError


def get_config(run: str = ""):
    config = avatars_generator.get_config()
    config.batch_size = 16
    config.total_steps = 10_000
    config.eval_every = 500
    config.data.update(
        name="folder", train_split="", eval_split="", flip=True, on_bad="skip"
    )
    config.loss.update(
        r1_gamma=4.0,
        noise_mode="random",
        blur_images=0,
        augment="adaptive",
    )
    config.optimizer.ema_images = 1e4
    if run == "new":
        config.loss.blur_images = 36_000
        config.total_steps = 50_000
    elif run:
        raise StylePrompterError(f"own_images_generator.py:{run}: there is only :new.")
    else:
        config.init_from = "avatars64"
        # A trained discriminator can overfit early, so p must be able to rise fast.
        config.loss.augment_images = 100_000
        config.model = ConfigDict()
        config.learning_rate = 1.5e-3
    return config
