"""ClipSAM's UMCI on VisA, with CLIP ViT-L/14@336 at 518 pixels, to test MVTec AD.

python train.py --config configs/umci_visa.py --data-dir VisA --init CLIP

CLIP is a converted checkpoint of openai/clip-vit-large-patch14-336; name a SAM ViT-H after it
(`--init CLIP SAM`) to save a whole model for `evaluate.py`. The patch tokens of the 2162 test
photos take 24 GB below runs/features. Scores are not known yet: neither the weights nor the photos
were at hand.
"""

from zsas_jax.methods.heads.umci_training import UmciTraining
from zsas_jax.networks.umci import UmciConfig
from zsas_jax.tasks import HeadTask
from zsas_jax.training.config import OptimizerConfig, PhotoSet, TrainConfig

CONFIG = TrainConfig(
    HeadTask(
        head="umci",
        size=518,
        sizes=UmciConfig(),
        training=UmciTraining(stage_weights=(0.1, 0.1, 0.1, 0.7)),
        data=PhotoSet(name="visa"),
        unknown_word=0.0,
    ),
    epochs=6,
    batch_size=8,
    method="clipsam",
    optimizer=OptimizerConfig(learning_rate=1e-4, weight_decay=0.01, clip_norm=0.0),
)
