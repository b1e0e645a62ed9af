"""The tiny model's SAM, third part: a short run in the frame that the pipeline uses.

python train.py --config configs/sam_tiny_192.py --output-dir runs/sam_tiny_192
"""

from zsas_jax.training.config import DataConfig, OptimizerConfig, SamTaskConfig, TrainConfig

CONFIG = TrainConfig(
    task="sam",
    seed=2,  # Other pictures first than in the parts before.
    steps=100,
    batch_size=16,
    init=("runs/sam_tiny_128/model",),
    data=DataConfig(stretch=2.0, crop_min=0.4, full_picture=0.3, foreign_patch=0.15),
    sam_task=SamTaskConfig(view_size=192, prompts=4, points=11, focal_weight=5.0, defect_share=0.6),
    optimizer=OptimizerConfig(
        algorithm="muon",
        learning_rate=1e-3,
        weight_decay=0.02,
        b2=0.98,
        warmup_steps=10,
        schedule="cosine",
    ),
)
