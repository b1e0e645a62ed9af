"""The tiny model's CLIP, fourth part: mostly whole pictures.

python train.py --config configs/clip_tiny_256.py --output-dir runs/clip_tiny_256
"""

from zsas_jax.config import PipelineConfig
from zsas_jax.training.config import ClipTaskConfig, DataConfig, OptimizerConfig, TrainConfig

CONFIG = TrainConfig(
    task="clip",
    seed=3,  # Other pictures first than in the parts before.
    steps=1020,
    batch_size=16,
    init=("runs/clip_tiny_192/model",),
    clip_task=ClipTaskConfig(
        view_size=256, auxiliary_weight=16.0, region_weight=4.0, balance=0.5, focus=1.0
    ),
    data=DataConfig(stretch=2.0, crop_min=0.5, full_picture=0.5, foreign_patch=0.3),
    optimizer=OptimizerConfig(
        algorithm="muon",
        learning_rate=7e-4,
        weight_decay=0.02,
        b2=0.98,
        warmup_steps=40,
        schedule="cosine",
    ),
    pipeline=PipelineConfig(method="clip", rough="similarity", clip_image_size=256),
)
