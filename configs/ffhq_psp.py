"""pSp as published: faces of 256 px to the codes of a StyleGAN2 of faces.

The generator, the start of the trunk (IR-SE50) and the networks of the losses come from
published files (docs/weights.md):

    styleprompter convert stylegan2-ffhq-config-f.pt runs/ffhq_generator
    styleprompter convert alexnet-owt-7be5be79.pth alex.pth runs/lpips
    styleprompter convert model_ir_se50.pth runs/arcface
    python train.py --config=configs/ffhq_psp.py --workdir=runs/ffhq_psp \
        --config.data.path=FOLDER

FOLDER holds the folders "train" and "validation" of aligned faces. Other tasks are
ffhq_psp.py:sketch, :super_resolution, :frontal and :labels (of 19 classes, with
--config.data.input_path=MAPS, a folder of label maps: that of FOLDER/train/NAME is
MAPS/train/NAME).

Not yet run. --compile_only=SLICE prints the memory that it needs.
"""

from ml_collections import ConfigDict

from styleprompter_jax.configs import ffhq_encoder
from styleprompter_jax.core.errors import StylePrompterError

FACTORS = (1, 2, 4, 8, 16, 32)  # of "downsample"
# By task: the encoder's channels, its input, and the losses that differ.
TASKS = {
    "inversion": (3, {}, {}),
    "sketch": (1, {"input": "sketch"}, {"id": 0.0, "w_norm": 0.005}),
    "labels": (19, {"input": "labels"}, {"id": 0.0, "w_norm": 0.005}),
    "super_resolution": (3, {"input": "downsample"}, {"w_norm": 0.005}),
    "frontal": (
        3,
        {},
        dict(l2=0.001, lpips=0.08, l2_crop=0.01, lpips_crop=0.8, id=1.0, w_norm=0.005),
    ),
}


def get_config(task: str = "inversion"):
    if task not in TASKS:
        raise StylePrompterError(
            f"ffhq_psp.py:{task}: choose one of {', '.join(TASKS)}."
        )
    channels, data, loss = TASKS[task]
    config = ffhq_encoder.get_config()
    config.batch_size = 8
    config.total_steps = 500_000
    config.init_from = "runs/ffhq_generator"
    config.init_encoder = False
    config.init_trunk = "runs/arcface"
    config.model = ConfigDict(
        dict(
            encoder=dict(
                type="psp",
                encoder_type="GradualStyleEncoder",
                input_channels=channels,
            ),
            # init_from replaces it; --compile_only uses it.
            generator=dict(image_size=1024),
        )
    )
    config.loss.update(align=0.0, w_norm=0.0, lpips=0.8, l2_crop=0.0, lpips_crop=0.0)
    config.loss.update(loss)
    config.data.update(dict(input="", input_path="", factors=FACTORS) | data)
    return config
