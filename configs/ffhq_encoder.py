"""The published encoder: SwinV2-T at 256 px against a StyleGAN2 of faces.

The generator, the encoder's start and the two perceptual networks come from published
files (docs/weights.md):

    styleprompter convert swinv2_tiny_patch4_window16_256.pth \
        stylegan2-ffhq-config-f.pt runs/ffhq_start
    styleprompter convert alexnet.pth lpips_alex.pth runs/lpips
    styleprompter convert model_ir_se50.pth runs/arcface
    python train.py --config=configs/ffhq_encoder.py --workdir=runs/ffhq_encoder \
        --config.data.path=FOLDER

FOLDER holds the folders "train" and "validation" of aligned faces.  For what is no
face: configs/afhq_wild_encoder.py.

Memory: 14.5 GB of each chip of a TPU v5e:2x4 with --config.batch_size=64
--config.dtype=bfloat16, as --compile_only=v5e:2x4 prints.  On one NVIDIA H200 the step
takes 10.9 GB and gives 258 images a second with --config.batch_size=16
--config.dtype=bfloat16, and 5.3 GB and 117 images as it stands (benchmarks/gpu.py,
without reading pictures).

The run itself was not yet made: its 2.4 million images would take 2.6 hours there, or
5.7 as it stands, and 1.5 hours on the slice at the very least (433 images a second).
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
            # Also "small" and "base", which start from ImageNet files of their own.
            encoder=dict(variant="tiny", drop_path=0.1, remat=False),
            # Read from init_from; what --compile_only assumes.
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
            # True as published: logit_scale, centred by itself, then never trains.
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
