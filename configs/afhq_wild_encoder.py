"""The published recipe for AFHQ's wild animals: SwinV2-T against a StyleGAN2 of 512 px.

What must be downloaded first (docs/weights.md says from where), and what becomes of it:

    styleprompter convert swinv2_tiny_patch4_window16_256.pth \
        stylegan2-afhqwild-512x512.pkl runs/afhq_wild_start
    styleprompter convert alexnet-owt-7be5be79.pth alex.pth runs/lpips
    styleprompter convert moco_v2_800ep_pretrain.pt runs/moco
    python train.py --config=configs/afhq_wild_encoder.py \
        --workdir=runs/afhq_wild_encoder --config.data.path=AFHQ

AFHQ is the folder of the data set, which holds train/wild and val/wild.

Not yet run: memory is what --compile_only=SLICE prints, and the time is not known.
"""

from styleprompter_jax.configs import ffhq_encoder


def get_config():
    config = ffhq_encoder.get_config()
    config.init_from = "runs/afhq_wild_start"
    config.model.generator.image_size = 512
    config.data.train_split = "train/wild"
    config.data.eval_split = "val/wild"
    # No face: MoCo's features stand for ArcFace's.
    config.loss.id, config.loss.id_weights = 0.0, ""
    config.loss.moco, config.loss.moco_weights = 0.1, "runs/moco"
    return config
