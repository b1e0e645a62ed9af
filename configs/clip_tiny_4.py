"""The tiny model's CLIP, fourth part of nine: on at the same size, patches weighing more.

python train.py --config configs/clip_tiny_4.py

It took 43 minutes on two CPU cores.
"""

from zsas_jax.config import PipelineConfig
from zsas_jax.training.config import ClipTaskConfig, DataConfig, OptimizerConfig, TrainConfig

CONFIG = TrainConfig(
    task="clip",
    seed=3,  # Other pictures first than in the parts before.
    steps=1080,
    batch_size=16,
    init=("runs/clip_tiny_3/model",),
    clip_task=ClipTaskConfig(
        view_size=256, auxiliary_weight=48.0, region_weight=12.0, balance=0.5, focus=1.0
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
    pipeline=PipelineConfig(method="clip", rough="similarity", clip_image_size=384),
)
