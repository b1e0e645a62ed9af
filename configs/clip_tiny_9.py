"""The tiny model's CLIP, ninth part of nine: objects on patterned grounds, glare at corners.

python train.py --config configs/clip_tiny_9.py

It took 50 minutes on two CPU cores. The mean with the weights that it starts from is what is used:
`python -m zsas_jax.weights average` (README.md).
"""

from zsas_jax.config import PipelineConfig
from zsas_jax.training.config import ClipTaskConfig, DataConfig, OptimizerConfig, TrainConfig

CONFIG = TrainConfig(
    task="clip",
    seed=8,  # Other pictures first than in the parts before.
    steps=1100,
    batch_size=16,
    init=("runs/clip_tiny_average/model",),
    clip_task=ClipTaskConfig(
        view_size=288, auxiliary_weight=48.0, region_weight=12.0, balance=0.5, focus=1.0
    ),
    data=DataConfig(
        stretch=2.0,
        crop_min=0.5,
        full_picture=0.5,
        foreign_patch=0.3,
        foreign_ground=0.6,
        uneven_light=0.2,
        glare=0.3,
        grey=0.3,
        noise=0.15,
    ),
    optimizer=OptimizerConfig(
        algorithm="muon",
        learning_rate=1.5e-3,
        weight_decay=0.02,
        b2=0.98,
        warmup_steps=30,
        schedule="cosine",
    ),
    pipeline=PipelineConfig(method="clip", rough="similarity", clip_image_size=384),
)
