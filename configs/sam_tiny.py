"""The tiny model's SAM: promptable segmentation of generated objects, parts and defects.

python train.py --config configs/sam_tiny.py

It took 16 minutes on two CPU cores.

Its image encoder starts from the tiny CLIP's. Small views first: most of what a SAM has to learn is
what a prompt means, and that takes pictures, not pixels.
"""

from zsas_jax.networks.sam.config import SamConfig
from zsas_jax.training.config import DataConfig, OptimizerConfig, SamTaskConfig, TrainConfig

SAM = SamConfig(
    image_size=64,
    patch_size=8,
    width=144,
    depth=6,
    heads=3,
    global_attn_indexes=(0, 1, 2, 3, 4, 5),
    window_size=8,
    out_chans=64,
    decoder_heads=2,
    decoder_mlp_dim=256,
    decoder_downsample=1,
    iou_head_hidden=64,
)

CONFIG = TrainConfig(
    task="sam",
    steps=1800,
    batch_size=32,
    sam=SAM,
    init=("runs/clip_tiny_3/model",),
    data=DataConfig(stretch=2.0, crop_min=0.4, full_picture=0.2, foreign_patch=0.3),
    sam_task=SamTaskConfig(
        from_clip=True,
        prompts=4,
        points=11,
        focal_weight=5.0,
        box_noise=0.2,
        box_shift=0.06,
        box_exact=0.3,
        defect_share=0.5,
    ),
    optimizer=OptimizerConfig(
        algorithm="muon", learning_rate=4e-3, weight_decay=0.02, b2=0.98, warmup_steps=50
    ),
)
