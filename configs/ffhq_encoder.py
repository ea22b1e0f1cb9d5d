"""The published encoder: SwinV2-T at 256 px with a StyleGAN2 of faces.

The generator, the initial encoder and the two perceptual networks come from published
files (docs/weights.md has the links). Convert them first:

    styleprompter convert swinv2_tiny_patch4_window16_256.pth \
        stylegan2-ffhq-config-f.pt runs/ffhq_start
    styleprompter convert alexnet-owt-7be5be79.pth alex.pth runs/lpips
    styleprompter convert model_ir_se50.pth runs/arcface
    python train.py --config=configs/ffhq_encoder.py --workdir=runs/ffhq_encoder \
        --config.data.path=FOLDER

FOLDER holds the folders "train" and "validation" of aligned faces.  For other domains
than faces, use configs/afhq_wild_encoder.py.

Memory: 14.5 GB on each chip of a TPU v5e:2x4 with --config.batch_size=64
--config.dtype=bfloat16, as --compile_only=v5e:2x4 prints.  On one NVIDIA H200 with
--config.batch_size=16 --config.dtype=bfloat16, a step takes 10.9 GB, and training runs
at 258 images per second. Without these overrides, a step takes 5.3 GB, and training
runs at 117 images per second. (benchmarks/gpu.py gave these figures, without reading
images.)

Nobody has made the whole run yet. Its 2.4 million images would take 2.6 hours on the
H200 with these overrides, or 5.7 hours without them. On the TPU slice, they would take
at least 1.5 hours (433 images per second).
"""

from ml_collections import ConfigDict


def get_config():
    config = ConfigDict()
    config.stage = "encoder"
    config.seed = 0
    config.batch_size = 4
    config.total_steps = 600_000
    config.learning_rate = 1e-4
    config.log_every = 50
    config.eval_every = 5_000
    config.checkpoint_every = 2_500
    config.dtype = "float32"
    config.on_nan = "stop"
    config.init_from = "runs/ffhq_start"
    config.init_encoder = True

    config.model = ConfigDict(
        dict(
            # "small" and "base" start from other ImageNet files.
            encoder=dict(variant="tiny", drop_path=0.1, remat=False),
            # Training reads this from init_from; only --compile_only uses it.
            generator=dict(image_size=1024),
        )
    )
    config.data = ConfigDict(
        dict(
            name="folder",
            train_split="train",
            eval_split="validation",
            path="",
            image_size=256,
            flip=True,
            crop="center",
            workers=4,
            on_bad="error",
        )
    )
    config.loss = ConfigDict(
        dict(
            l2=1.0,
            structure=0.0,
            align=0.1,
            lpips=0.6,
            lpips_weights="runs/lpips",
            id=0.1,
            id_weights="runs/arcface",
            moco=0.0,
            moco_weights="",
        )
    )
    config.optimizer = ConfigDict(
        dict(
            name="ranger",
            beta1=0.95,
            beta2=0.999,
            eps=1e-5,
            # Published: True, which centres logit_scale's gradient to 0.
            centralize_logit_scale=False,
            weight_decay=0.0,
            clip_norm=0.0,
            schedule="constant",
            warmup_steps=0,
            accumulate=1,
            ema_images=0.0,
        )
    )
    return config
