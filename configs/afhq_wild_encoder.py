"""The published recipe for AFHQ's wild animals: SwinV2-T and a StyleGAN2 of 512 px.

Download these files first (docs/weights.md has the links), and convert them:

    styleprompter convert swinv2_tiny_patch4_window16_256.pth \
        stylegan2-afhqwild-512x512.pkl runs/afhq_wild_start
    styleprompter convert alexnet-owt-7be5be79.pth alex.pth runs/lpips
    styleprompter convert moco_v2_800ep_pretrain.pt runs/moco
    python train.py --config=configs/afhq_wild_encoder.py \
        --workdir=runs/afhq_wild_encoder --config.data.path=AFHQ

AFHQ is the folder of the dataset, with the folders train/wild and val/wild.

Not yet run. --compile_only=SLICE prints the memory; the time is not known.
"""

from styleprompter_jax.configs import ffhq_encoder


def get_config():
    config = ffhq_encoder.get_config()
    config.init_from = "runs/afhq_wild_start"
    config.model.generator.image_size = 512
    config.data.train_split = "train/wild"
    config.data.eval_split = "val/wild"
    # ArcFace knows faces only: MoCo's features replace it.
    config.loss.id, config.loss.id_weights = 0.0, ""
    config.loss.moco, config.loss.moco_weights = 0.1, "runs/moco"
    return config
