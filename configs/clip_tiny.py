"""The tiny model's CLIP, first part: contrastive training on generated pictures and captions.

python train.py --config configs/clip_tiny.py --output-dir runs/clip_tiny
"""

from zsas_jax.clip.config import ClipConfig
from zsas_jax.config import PipelineConfig
from zsas_jax.training.config import ClipTaskConfig, DataConfig, OptimizerConfig, TrainConfig
from zsas_jax.umci.config import UmciConfig

CLIP = ClipConfig(
    image_size=128,
    patch_size=8,
    vision_width=192,
    vision_layers=8,
    vision_heads=4,
    context_length=32,
    vocab_size=1024,
    text_width=96,
    text_layers=3,
    text_heads=2,
    embed_dim=96,
)

UMCI = UmciConfig(width=192, text_dim=96, hidden_dim=48, layers=(2, 4, 6, 8))

CONFIG = TrainConfig(
    task="clip",
    steps=2500,
    batch_size=128,
    clip=CLIP,
    umci=UMCI,
    precision="bfloat16",
    clip_task=ClipTaskConfig(
        view_size=192, auxiliary_weight=8.0, region_weight=2.0, balance=0.7, focus=1.0
    ),
    data=DataConfig(
        pictures=16000,
        stretch=2.0,
        crop_min=0.4,
        full_picture=0.3,
        foreign_patch=0.4,
        uneven_light=0.3,
        processes=14,
    ),
    optimizer=OptimizerConfig(
        algorithm="muon",
        learning_rate=4e-3,
        weight_decay=0.02,
        b2=0.98,
        warmup_steps=100,
        schedule="cosine",
    ),
    pipeline=PipelineConfig(method="clip", rough="similarity", clip_image_size=256),
)
