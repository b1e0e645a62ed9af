"""The tiny model's CLIP, sixth part: other pictures, with uneven light.

python train.py --config configs/clip_tiny_288.py --output-dir runs/clip_tiny_288
"""

from zsas_jax.config import PipelineConfig
from zsas_jax.training.config import ClipTaskConfig, DataConfig, OptimizerConfig, TrainConfig

CONFIG = TrainConfig(
    task="clip",
    seed=5,
    steps=760,
    batch_size=16,
    init=("runs/clip_tiny_320/model",),
    clip_task=ClipTaskConfig(
        view_size=288, auxiliary_weight=16.0, region_weight=4.0, balance=0.5, focus=1.0
    ),
    data=DataConfig(
        pictures=12000,
        seed=1,
        stretch=2.0,
        crop_min=0.6,
        full_picture=0.5,
        foreign_patch=0.3,
        uneven_light=0.3,
    ),
    optimizer=OptimizerConfig(
        algorithm="muon",
        learning_rate=6e-4,
        weight_decay=0.02,
        b2=0.98,
        warmup_steps=30,
        schedule="cosine",
    ),
    pipeline=PipelineConfig(method="clip", rough="similarity", clip_image_size=384),
)
