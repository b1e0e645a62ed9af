"""The tiny model's CLIP, eighth part of nine: at a larger size still, with noise.

python train.py --config configs/clip_tiny_8.py

It took 39 minutes, beside other work on two CPU cores. The mean with the seventh part's weights is
what the ninth part starts from: `python -m zsas_jax.weights average` (README.md).
"""

from zsas_jax.config import PipelineConfig
from zsas_jax.training.config import ClipTaskConfig, DataConfig, OptimizerConfig, TrainConfig

CONFIG = TrainConfig(
    task="clip",
    seed=7,  # Other pictures first than in the parts before.
    steps=500,
    batch_size=16,
    init=("runs/clip_tiny_7/model",),
    clip_task=ClipTaskConfig(
        view_size=336, auxiliary_weight=48.0, region_weight=12.0, balance=0.5, focus=1.0
    ),
    data=DataConfig(
        stretch=2.0,
        crop_min=0.5,
        full_picture=0.5,
        foreign_patch=0.3,
        uneven_light=0.2,
        grey=0.3,
        noise=0.3,
    ),
    optimizer=OptimizerConfig(
        algorithm="muon",
        learning_rate=1.2e-3,
        weight_decay=0.02,
        b2=0.98,
        warmup_steps=30,
        schedule="cosine",
    ),
    pipeline=PipelineConfig(method="clip", rough="similarity", clip_image_size=384),
)
