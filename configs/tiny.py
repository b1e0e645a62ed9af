"""The bundled tiny model: CLIP with a UMCI along, then SAM from its image tower, then settings.

python train.py --config configs/tiny.py [--resume]

Two CPU cores; the runs that this recipe was made from took seven and a half hours. The committed
weights come from those runs, which had the same networks, pictures of other versions of the
generator and more parts; this recipe has not been run to its end and has no scores yet.
"""

from zsas_jax.methods import find_method
from zsas_jax.methods.heads.umci import UmciHead
from zsas_jax.networks.clip import ClipConfig
from zsas_jax.networks.sam import SamConfig
from zsas_jax.networks.umci import UmciConfig
from zsas_jax.parts.upsampling import Upsampling
from zsas_jax.parts.views import Views
from zsas_jax.tasks import ClipTask, SamTask
from zsas_jax.training.config import Generated, OptimizerConfig, TrainConfig
from zsas_jax.training.recipe import Phase, Recipe, View
from zsas_jax.training.select import Candidates, Select

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
SAM = SamConfig(
    image_size=64,
    patch_size=8,
    width=144,
    depth=6,
    heads=3,
    global_attn_indexes=(0, 1, 2, 3, 4, 5),
    window_size=8,
    out_chans=64,
    decoder_heads=2,
    decoder_mlp_dim=256,
    decoder_downsample=1,
    iou_head_hidden=64,
)
VIEWS = Views(image_size=448, turns=2, more_sizes=(320,))
HEAD = UmciHead(VIEWS, Upsampling("guided"), stages=1, similarity_weight=0.5)
CASCADE = find_method("cascade").config
IMAGES = ("image_auroc", "image_ap")


def muon(rate: float, warmup: int, schedule: str, ema: float = 0.0) -> OptimizerConfig:
    """Muon as all networks are trained with it."""
    return OptimizerConfig(
        algorithm="muon",
        learning_rate=rate,
        weight_decay=0.02,
        b2=0.98,
        warmup_steps=warmup,
        schedule=schedule,
        ema_decay=ema,
    )


def sam_task(sizes: SamConfig | None, **pictures: float) -> SamTask:
    """SAM's prompts as the cascade makes them."""
    return SamTask(
        sizes=sizes,
        data=Generated(stretch=2.0, crop_min=0.4, foreign_patch=0.3, **pictures),
        from_clip=sizes is not None,
        prompts=4,
        points=11,
        focal_weight=5.0,
        box_noise=0.2,
        box_shift=0.06,
        box_exact=0.3,
        defect_share=0.5,
    )


CONFIG = Recipe(
    phases=(
        Phase(
            "clip",
            TrainConfig(
                ClipTask(
                    sizes=CLIP,
                    umci=UMCI,
                    data=Generated(
                        stretch=2.0,
                        crop_min=0.35,
                        full_picture=0.2,
                        foreign_patch=0.4,
                        uneven_light=0.3,
                    ),
                    auxiliary_weight=8.0,
                    region_weight=2.0,
                    balance=0.7,
                    focus=1.0,
                ),
                steps=3000,
                batch_size=32,
                optimizer=muon(3e-3, 100, "constant"),
            ),
        ),
        Phase(
            "views",
            TrainConfig(
                ClipTask(
                    data=Generated(
                        stretch=2.0,
                        crop_min=0.5,
                        full_picture=0.4,
                        foreign_patch=0.3,
                        foreign_ground=0.3,
                        uneven_light=0.3,
                        glare=0.1,
                        noise=0.1,
                    ),
                    auxiliary_weight=48.0,
                    region_weight=12.0,
                    balance=0.5,
                    focus=1.0,
                ),
                steps=1,
                seed=1,
                optimizer=muon(2e-3, 30, "cosine", ema=0.998),
            ),
            views=(View(192, 2900, 16), View(256, 3800, 16), View(288, 1600, 16)),
            start=("clip",),
        ),
        Phase(
            "sam",
            TrainConfig(
                sam_task(SAM, full_picture=0.2),
                steps=1800,
                batch_size=32,
                optimizer=muon(4e-3, 50, "constant"),
            ),
            start=("views",),
        ),
        Phase(
            "frame",
            TrainConfig(
                sam_task(None, full_picture=0.3, uneven_light=0.2),
                steps=1,
                seed=1,
                optimizer=muon(3e-3, 30, "cosine"),
            ),
            views=(View(192, 1000, 16),),
            start=("sam",),
        ),
    ),
    result=("frame", "views"),
    method="cascade",
    settings={"cascade": CASCADE(head=HEAD)},
    select=Select(
        "cascade",
        (
            Candidates("head.stages", (0, 1)),
            Candidates("head.upsampling.rule", ("bilinear", "guided")),
            Candidates("refiner.foreground.threshold", (0.3, 0.47, 0.6, 0.8)),
            Candidates("refiner.mask_confidence", ("iou", "iou_times_rough")),
            Candidates("refiner.rough_weight", (0.7, 0.8, 0.9)),
            Candidates("refiner.regions", (1, 2, 5)),
            Candidates("refiner.stages", (1, 2, 3)),
            Candidates("score.top_fraction", (0.001, 0.005, 0.02), IMAGES),
            Candidates("score.map_weight", (0.5, 0.8, 1.0), IMAGES),
        ),
    ),
)
