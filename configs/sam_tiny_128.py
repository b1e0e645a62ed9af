"""The tiny model's SAM, second part: larger views, for finer outlines.

python train.py --config configs/sam_tiny_128.py --output-dir runs/sam_tiny_128
"""

from zsas_jax.training.config import DataConfig, OptimizerConfig, SamTaskConfig, TrainConfig

CONFIG = TrainConfig(
    task="sam",
    seed=1,  # Other pictures first than in the part before.
    steps=850,
    batch_size=16,
    init=("runs/sam_tiny/model",),
    data=DataConfig(stretch=2.0, crop_min=0.4, full_picture=0.3, foreign_patch=0.15),
    sam_task=SamTaskConfig(view_size=128, prompts=4, points=11, focal_weight=5.0, defect_share=0.6),
    optimizer=OptimizerConfig(
        algorithm="muon",
        learning_rate=2.5e-3,
        weight_decay=0.02,
        b2=0.98,
        warmup_steps=50,
        schedule="cosine",
    ),
)
