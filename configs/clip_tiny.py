"""The tiny model's CLIP, first part of nine: contrast of generated pictures and captions.

python train.py --config configs/clip_tiny.py

It took 44 minutes on two CPU cores.
"""

from zsas_jax.config import PipelineConfig
from zsas_jax.networks.clip.config import ClipConfig
from zsas_jax.networks.umci.config import UmciConfig
from zsas_jax.training.config import ClipTaskConfig, DataConfig, OptimizerConfig, TrainConfig

CLIP = ClipConfig(
    image_size=128,
    patch_size=8,
    vision_width=144,
    vision_layers=6,
    vision_heads=3,
    context_length=32,
    vocab_size=1024,
    text_width=96,
    text_layers=3,
    text_heads=2,
    embed_dim=96,
)

UMCI = UmciConfig(width=144, text_dim=96, hidden_dim=32, layers=(2, 3, 5, 6))

CONFIG = TrainConfig(
    task="clip",
    steps=3000,
    batch_size=32,
    clip=CLIP,
    umci=UMCI,
    clip_task=ClipTaskConfig(auxiliary_weight=8.0, region_weight=2.0, balance=0.7, focus=1.0),
    data=DataConfig(
        stretch=2.0, crop_min=0.35, full_picture=0.2, foreign_patch=0.4, uneven_light=0.3
    ),
    optimizer=OptimizerConfig(
        algorithm="muon", learning_rate=3e-3, weight_decay=0.02, b2=0.98, warmup_steps=100
    ),
    pipeline=PipelineConfig(method="clip", rough="similarity", clip_image_size=256),
)
