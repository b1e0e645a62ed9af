"""The tiny model's SAM: promptable segmentation of generated objects, parts and defects.

    python train.py --config configs/sam_tiny.py --output-dir runs/sam_tiny
"""

from zsas_jax.sam.config import SamConfig
from zsas_jax.training.config import OptimizerConfig, SamTaskConfig, TrainConfig

SAM = SamConfig(
    image_size=192,
    patch_size=8,
    width=96,
    depth=6,
    heads=3,
    global_attn_indexes=(2, 5),
    window_size=8,
    out_chans=64,
    decoder_heads=4,
    decoder_mlp_dim=256,
    iou_head_hidden=64,
)

CONFIG = TrainConfig(
    task="sam",
    steps=2300,
    batch_size=4,
    sam=SAM,
    sam_task=SamTaskConfig(prompts=4, points=11),
    optimizer=OptimizerConfig(
        learning_rate=6e-4, weight_decay=0.05, warmup_steps=200, schedule="cosine"
    ),
)
