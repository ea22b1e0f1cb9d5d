"""e4e as published, for cars: images of 256 x 192 to a StyleGAN2 of 512 px.

    styleprompter convert stylegan2-car-config-f.pt runs/cars_generator
    styleprompter convert alexnet-owt-7be5be79.pth alex.pth runs/lpips
    styleprompter convert model_ir_se50.pth runs/arcface
    styleprompter convert moco_v2_800ep_pretrain.pt runs/moco
    python train.py --config=configs/cars_e4e.py --workdir=runs/cars_e4e \
        --config.data.path=FOLDER

FOLDER holds the folders "train" and "validation" of images of cars. The
losses compare the middle rows of the generator's images, which show the car.

Not yet run. --compile_only=SLICE prints the memory that it needs.
"""

from styleprompter_jax.configs import ffhq_e4e


def get_config():
    config = ffhq_e4e.get_config()
    config.init_from = "runs/cars_generator"
    config.model.generator.image_size = 512
    config.model.encoder.image_height = config.data.image_height = 192
    # No face: MoCo's features stand for ArcFace's.
    config.loss.id, config.loss.id_weights = 0.0, ""
    config.loss.moco, config.loss.moco_weights = 0.5, "runs/moco"
    return config
