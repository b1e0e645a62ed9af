"""ClipSAM's UMCI on MVTec AD, with CLIP ViT-L/14@336 at 518 pixels, to test VisA, MTD and KSDD2.

python train.py --config configs/umci_mvtec.py --data-dir mvtec_anomaly_detection --init CLIP

CLIP is a converted checkpoint of openai/clip-vit-large-patch14-336; name a SAM ViT-H after it
(`--init CLIP SAM`) to save a whole model for `evaluate.py`. The patch tokens of the 1725 photos
take 19 GB below runs/features. Scores are not known yet: neither the weights nor the photos were
at hand.
"""

from zsas_jax.config import PipelineConfig
from zsas_jax.networks.umci.config import UmciConfig
from zsas_jax.training.config import (
    AuxiliaryConfig,
    OptimizerConfig,
    TrainConfig,
    UmciTaskConfig,
)

CONFIG = TrainConfig(
    task="umci",
    epochs=6,
    batch_size=8,
    umci=UmciConfig(),
    auxiliary=AuxiliaryConfig(name="mvtec"),
    umci_task=UmciTaskConfig(stage_weights=(0.1, 0.1, 0.1, 0.7), unknown_word=0.0),
    optimizer=OptimizerConfig(learning_rate=1e-4, weight_decay=0.01, clip_norm=0.0),
    pipeline=PipelineConfig(method="clipsam", clip_image_size=518),
)
