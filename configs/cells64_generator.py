"""StyleGAN2 for photographs of blood cells, 64 px, from the bundled generator.

    python train.py --config=configs/cells64_generator.py \
        --workdir=runs/cells64_generator --config.data.path=FOLDER

FOLDER is the downloaded and unpacked dataset, with a folder for each of the eight
classes (styleprompter_jax/data/cells.py). The first run reads it into TFDS's folder.
Nothing trained on it is for diagnosis.
"""

from styleprompter_jax.configs import avatars_generator, own_images_generator


def get_config():
    config = own_images_generator.get_config()
    config.model = avatars_generator.get_config().model
    config.data.update(
        name="cells", train_split="train", eval_split="validation", on_bad="error"
    )
    # 104,000 images are 13 passes over the training photographs: too few to overfit.
    config.total_steps = 6_500
    config.loss.augment = "none"
    return config
