"""The tables of the papers, redone with the tiny model on the generator's held-out classes.

zsas ablations --config configs/ablations_tiny.py
"""

from zsas_jax.ablations import Ablations, Study, Variant
from zsas_jax.data.synthetic.disturbed import DISTURBANCES
from zsas_jax.methods.heads.umci import UmciHead
from zsas_jax.methods.heads.umci_training import UmciTraining
from zsas_jax.parts.views import Views
from zsas_jax.tasks import HeadTask
from zsas_jax.training.config import Generated, OptimizerConfig, TrainConfig

# ClipSAM's rough map is UMCI's alone.
UMCI_ALONE = {"head.similarity_weight": 0.0}
RULES = (
    "least_similar_in_ring",
    "most_similar_in_ring",
    "lowest_score_in_ring",
    "least_similar_in_image",
    "none",
)


def clipsam(name, settings=None, **umci):
    """ClipSAM with a UMCI that is trained anew, with these fields of its config."""
    return Variant(name, "clipsam", UMCI_ALONE | (settings or {}), {"umci": umci})


CONFIG = Ablations(
    training={
        "umci": TrainConfig(
            HeadTask(
                head="umci",
                size=448,
                settings=UmciHead(Views(image_size=448)),
                training=UmciTraining(loss="balanced"),
                data=Generated(crop_min=0.5, full_picture=0.5, foreign_patch=0.2),
            ),
            steps=400,
            batch_size=8,
            optimizer=OptimizerConfig(
                algorithm="muon",
                learning_rate=1e-3,
                weight_decay=0.01,
                warmup_steps=40,
                schedule="cosine",
            ),
        )
    },
    studies=(
        Study(
            "methods",
            "Methods",
            (
                Variant("cascade", "cascade"),
                Variant("umci", "umci"),
                Variant("clipsam", "clipsam", UMCI_ALONE),
                Variant("clip", "clip"),
            ),
        ),
        Study(
            "umci",
            "ClipSAM, Table 2: parts of UMCI and MMR (UMCI trained anew for 400 steps)",
            (
                clipsam("full"),
                clipsam("strip only", use_scale=False),
                clipsam("scale only", use_strip=False),
                Variant("w/o UMCI", "similarity+mmr"),
                Variant("w/o MMR", "umci", networks={"umci": {}}),
            ),
        ),
        Study(
            "sizes",
            "ClipSAM, Table 3: hidden size, kernels, threshold (the paper: 384, 3 and 9, 0.47)",
            (
                *(clipsam(f"hidden {n}", hidden_dim=n) for n in (16, 64, 128)),
                clipsam("hidden 32, kernels 3 and 9"),
                *(
                    clipsam(f"kernels {a} and {b}", scale_kernels=(a, b))
                    for a, b in ((3, 5), (5, 9))
                ),
                *(clipsam(f"threshold {x}", {"refiner.threshold": x}) for x in (0.27, 0.47, 0.67)),
            ),
        ),
        Study(
            "negatives",
            "PPG: which pixels become negative points",
            tuple(
                Variant(rule, "cascade", {"refiner.points.negative_rule": rule}) for rule in RULES
            ),
        ),
        Study(
            "stages",
            "CPS: stages of the cascade",
            tuple(
                Variant(name, "cascade", {"refiner.stages": stages})
                for stages, name in enumerate(("1", "1 and 2", "1, 2 and 3"), 1)
            ),
        ),
        Study(
            "robustness",
            "The same pictures from a worse or another camera (noise: 10 of 255; JPEG: quality 50)",
            (
                Variant("as they are", "cascade"),
                *(Variant(how, "cascade", photos=how) for how in DISTURBANCES),
            ),
        ),
    ),
)
