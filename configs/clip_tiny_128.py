"""The tiny model's CLIP, second part: many small crops at the pipeline's scale.

python train.py --config configs/clip_tiny_128.py --output-dir runs/clip_tiny_128
"""

from zsas_jax.config import PipelineConfig
from zsas_jax.training.config import ClipTaskConfig, DataConfig, OptimizerConfig, TrainConfig

CONFIG = TrainConfig(
    task="clip",
    seed=1,  # Other pictures first than in the parts before.
    steps=1500,
    batch_size=32,
    init=("runs/clip_tiny/model",),
    clip_task=ClipTaskConfig(view_size=128, auxiliary_weight=4.0),
    data=DataConfig(stretch=2.0, crop_min=0.35, full_picture=0.25, foreign_patch=0.3),
    optimizer=OptimizerConfig(
        algorithm="muon",
        learning_rate=1e-3,
        weight_decay=0.02,
        b2=0.98,
        warmup_steps=50,
        schedule="cosine",
    ),
    pipeline=PipelineConfig(method="clip", rough="similarity", clip_image_size=192),
)
