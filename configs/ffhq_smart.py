"""The published SMART, on top of configs/ffhq_encoder.py.  Not yet run.

    python train.py --config=configs/ffhq_smart.py --workdir=runs/ffhq_smart \
        --config.data.path=FOLDER
"""

from ml_collections import ConfigDict

from configs import ffhq_encoder


def get_config():
    config = ffhq_encoder.get_config()
    config.stage = "smart"
    config.init_from = "runs/ffhq_encoder/model"
    config.model.smart = ConfigDict(
        dict(
            refined_layers=(4,),
            num_heads=4,
            ffn_dim=1024,
            dropout=0.1,
            attention="linear",
        )
    )
    config.loss.align = 0.0
    return config
