"""The tiny model's SAM: promptable segmentation of generated objects, parts and defects.

python train.py --config configs/sam_tiny.py --output-dir runs/sam_tiny
"""

from zsas_jax.sam.config import SamConfig
from zsas_jax.training.config import DataConfig, OptimizerConfig, SamTaskConfig, TrainConfig

SAM = SamConfig(
    image_size=128,
    patch_size=8,
    width=96,
    depth=4,
    heads=3,
    global_attn_indexes=(1, 3),
    window_size=8,
    out_chans=64,
    decoder_heads=4,
    decoder_mlp_dim=256,
    iou_head_hidden=64,
)

CONFIG = TrainConfig(
    task="sam",
    steps=2400,
    batch_size=8,
    sam=SAM,
    data=DataConfig(stretch=2.0, crop_min=0.3, full_picture=0.2),
    sam_task=SamTaskConfig(prompts=4, points=11, focal_weight=5.0, defect_share=0.6),
    optimizer=OptimizerConfig(
        algorithm="muon",
        learning_rate=1.5e-3,
        weight_decay=0.02,
        b2=0.98,
        warmup_steps=100,
        schedule="cosine",
    ),
)
