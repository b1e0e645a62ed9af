"""The tiny model's CLIP, second part: larger views of other pictures.

python train.py --config configs/clip_tiny_256.py --output-dir runs/clip_tiny_256
"""

from zsas_jax.config import PipelineConfig
from zsas_jax.training.config import ClipTaskConfig, DataConfig, OptimizerConfig, TrainConfig

CONFIG = TrainConfig(
    task="clip",
    seed=1,
    steps=2000,
    batch_size=128,
    init=("runs/clip_tiny/model",),
    precision="bfloat16",
    clip_task=ClipTaskConfig(
        view_size=256, auxiliary_weight=16.0, region_weight=4.0, balance=0.5, focus=1.0
    ),
    data=DataConfig(
        pictures=60000,
        seed=1,
        stretch=2.0,
        crop_min=0.5,
        full_picture=0.4,
        foreign_patch=0.3,
        uneven_light=0.3,
        processes=14,
    ),
    optimizer=OptimizerConfig(
        algorithm="muon",
        learning_rate=3e-3,
        weight_decay=0.02,
        b2=0.98,
        warmup_steps=100,
        schedule="cosine",
    ),
    pipeline=PipelineConfig(method="clip", rough="similarity", clip_image_size=256),
)
