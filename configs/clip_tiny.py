"""The tiny model's CLIP: contrastive training on generated pictures and captions.

    python train.py --config configs/clip_tiny.py --output-dir runs/clip_tiny
"""

from zsas_jax.clip.config import ClipConfig
from zsas_jax.config import PipelineConfig
from zsas_jax.training.config import OptimizerConfig, TrainConfig

CLIP = ClipConfig(
    image_size=128,
    patch_size=8,
    vision_width=128,
    vision_layers=8,
    vision_heads=2,
    context_length=24,
    vocab_size=1024,
    text_width=128,
    text_layers=4,
    text_heads=2,
    embed_dim=128,
)

CONFIG = TrainConfig(
    task="clip",
    steps=3000,
    batch_size=32,
    clip=CLIP,
    optimizer=OptimizerConfig(
        learning_rate=1e-3, weight_decay=0.05, b2=0.98, warmup_steps=200, schedule="cosine"
    ),
    pipeline=PipelineConfig(method="clip", rough="similarity", clip_image_size=192, layers=(2, 4, 6, 8)),
)
