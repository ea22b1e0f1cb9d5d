"""The published recipe for LSUN's churches: SwinV2-T against a StyleGAN2 of 256 px.

What must be downloaded first (docs/weights.md says from where), and what becomes of it:

    styleprompter convert swinv2_tiny_patch4_window16_256.pth \
        stylegan2-church-config-f.pt runs/church_start
    styleprompter convert alexnet-owt-7be5be79.pth alex.pth runs/lpips
    styleprompter convert moco_v2_800ep_pretrain.pt runs/moco
    python train.py --config=configs/church_encoder.py --workdir=runs/church_encoder \
        --config.data.path=FOLDER

FOLDER holds the pictures of LSUN's church_outdoor in "train" and "validation"; of each,
256 x 256 pixels are taken at random.

Not yet run: memory is what --compile_only=SLICE prints, and the time is not known.
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
