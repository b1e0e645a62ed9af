"""The tiny model's CLIP, second part of nine: larger views, and patches above all.

python train.py --config configs/clip_tiny_2.py

It took 33 minutes on two CPU cores.
"""

from zsas_jax.config import PipelineConfig
from zsas_jax.training.config import ClipTaskConfig, DataConfig, OptimizerConfig, TrainConfig

CONFIG = TrainConfig(
    task="clip",
    seed=1,  # Other pictures first than in the part before.
    steps=1800,
    batch_size=16,
    init=("runs/clip_tiny/model",),
    clip_task=ClipTaskConfig(
        view_size=192, auxiliary_weight=16.0, region_weight=4.0, balance=0.5, focus=1.0
    ),
    data=DataConfig(
        stretch=2.0, crop_min=0.5, full_picture=0.4, foreign_patch=0.3, uneven_light=0.3
    ),
    optimizer=OptimizerConfig(
        algorithm="muon",
        learning_rate=2e-3,
        weight_decay=0.02,
        b2=0.98,
        warmup_steps=30,
        schedule="cosine",
    ),
    pipeline=PipelineConfig(method="clip", rough="similarity", clip_image_size=256),
)
