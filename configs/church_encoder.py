"""The published recipe for LSUN's churches: SwinV2-T and a StyleGAN2 of 256 px.

Download these files first (docs/weights.md has the links), and convert them:

    styleprompter convert swinv2_tiny_patch4_window16_256.pth \
        stylegan2-church-config-f.pt runs/church_start
    styleprompter convert alexnet-owt-7be5be79.pth alex.pth runs/lpips
    styleprompter convert moco_v2_800ep_pretrain.pt runs/moco
    python train.py --config=configs/church_encoder.py --workdir=runs/church_encoder \
        --config.data.path=FOLDER

FOLDER holds the images of LSUN's church_outdoor, in the folders "train" and
"validation". Training takes a random crop of 256 x 256 pixels from each image.

Not yet run. --compile_only=SLICE prints the memory; the time is not known.
"""

from styleprompter_jax.configs import afhq_wild_encoder


def get_config():
    config = afhq_wild_encoder.get_config()
    config.init_from = "runs/church_start"
    config.model.generator.image_size = 256
    config.data.train_split = "train"
    config.data.eval_split = "validation"
    config.data.crop = "random"
    return config
