"""The tiny model's CLIP: contrastive training on generated pictures and captions.

python train.py --config configs/clip_tiny.py --output-dir runs/clip_tiny
"""

from zsas_jax.clip.config import ClipConfig
from zsas_jax.config import PipelineConfig
from zsas_jax.training.config import ClipTaskConfig, DataConfig, OptimizerConfig, TrainConfig
from zsas_jax.umci.config import UmciConfig

CLIP = ClipConfig(
    image_size=96,
    patch_size=8,
    vision_width=96,
    vision_layers=6,
    vision_heads=2,
    context_length=32,
    vocab_size=1024,
    text_width=96,
    text_layers=3,
    text_heads=2,
    embed_dim=96,
)

UMCI = UmciConfig(width=96, text_dim=96, hidden_dim=64, layers=(2, 3, 5, 6))

CONFIG = TrainConfig(
    task="clip",
    steps=4000,
    batch_size=16,
    clip=CLIP,
    umci=UMCI,
    clip_task=ClipTaskConfig(state_weight=1.0, region_weight=1.0, auxiliary_weight=4.0),
    data=DataConfig(stretch=1.5, crop_min=0.3, full_picture=0.1, foreign_patch=0.5),
    optimizer=OptimizerConfig(
        algorithm="muon",
        learning_rate=2e-3,
        weight_decay=0.02,
        b2=0.98,
        warmup_steps=100,
        schedule="cosine",
    ),
    pipeline=PipelineConfig(method="clip", rough="similarity", clip_image_size=192),
)
