"""Every setting of a checkpoint: the networks' sizes and the pipeline's knobs, as JSON-able data.

The numbers of the prompting cascade (PPG and CPS, arXiv 2510.11028) are not published: where a
field says "not specified by the paper", the default is this project's own choice. Lengths are
fractions of the side of the frame, which is SAM's square input (1024 for the public models).
"""

import contextlib
import dataclasses
import difflib
import types
import typing
from collections.abc import Iterable, Mapping
from typing import Any, Literal

from zsas_jax.clip.config import ClipConfig
from zsas_jax.errors import ConfigError
from zsas_jax.sam.config import SamConfig
from zsas_jax.umci.config import UmciConfig

Method = Literal["cascade", "clipsam", "umci", "clip"]
PointRule = Literal["distance", "stride"]
MaskConfidence = Literal["iou", "iou_times_rough"]
NegativeRule = Literal[
    "least_similar_in_ring",
    "most_similar_in_ring",
    "lowest_score_in_ring",
    "least_similar_in_image",
    "none",
]


@dataclasses.dataclass(frozen=True)
class PipelineConfig:
    """Every knob of `segment`; hashable, because it is a static argument of the jitted program.

    Raises:
        ConfigError: a value outside its range.
    """

    # What runs.
    method: Method = "cascade"
    """cascade: UMCI, PPG and CPS (arXiv 2510.11028); clipsam: UMCI and MMR (ClipSAM); umci: the
    rough map alone (ClipSAM's "w/o MMR"); clip: prompt-ensemble similarity alone."""
    rough: Literal["umci", "similarity", "both"] = "umci"
    """The rough map of cascade and clipsam: UMCI's abnormal probability; the similarity of patches
    and text (with clipsam the paper's "w/o UMCI"); or a mean of both, which is in no paper and
    costs nothing, for CLIPs whose patches were trained along."""
    similarity_weight: float = 0.5
    """Weight of the similarity against UMCI's probability in the rough map "both"."""
    umci_stages: int = 0
    """UMCI's map is the mean of this many of its stages, those listed last in its `layers` (the
    deepest, in ClipSAM's order); 0 takes all. Not specified by ClipSAM, whose loss (Eq. 12) weighs
    the last most. The others are not computed."""
    compute_dtype: Literal["float32", "bfloat16", "float64"] = "float32"
    """Dtype in which the networks compute; scores and norms stay in at least float32. On CPUs
    "bfloat16" is for matrix products alone. On GPUs and TPUs JAX computes float32 products
    in TF32 and bfloat16, unless JAX_DEFAULT_MATMUL_PRECISION is "float32"."""
    clip_image_size: int | tuple[int, int] = 518
    """CLIP's input, one side or (height, width), multiples of its patch size, pixels; photos are
    stretched to it. Not specified by ClipSAM; 518 as in APRIL-GAN and AnomalyCLIP for /14
    models."""
    clip_turns: Literal[1, 2, 4] = 1
    """Orientations whose rough maps and class probabilities are averaged: the photo as it is,
    upside down too, or all four quarter turns (of a square input). None of the papers does it; a
    small network errs differently in each, and CLIP's part takes as many times as long."""
    clip_more_sizes: tuple[int, ...] = ()
    """Further sides of CLIP's input, pixels. Each look at the photo is in the next size and the
    next orientation, until all of both had their turn (the first ones come again where there are
    fewer of one than of the other); rough maps and class probabilities are averaged. None of the
    papers does it."""
    rough_upsampling: Literal["bilinear", "guided"] = "bilinear"
    """How the rough map goes from the patch grid to the photo. "guided" is the fast guided filter
    (arXiv 1505.00996) on twice the patch grid: edges of the map move to those of the photo. None of
    the papers does it; prompts are made from the map as it was."""
    guided_radius: float = 0.02
    """The guided filter's windows reach this fraction of the photo's sides to each side, rounded to
    cells of half a patch, at least one."""
    guided_epsilon: float = 1e-3
    """The guided filter follows edges whose colours vary by more than this (variance of levels in
    [0, 1])."""
    refine_at_a_time: int = 0
    """Images that SAM takes at a time, those first whose rough map reaches the threshold; SAM does
    not run for the others, which it would not change. 0 runs SAM once on the whole batch. On a line
    where most parts are good, 1 is fastest on a CPU."""

    # Foreground of the rough map.
    rough_threshold: float = 0.47
    """Foreground threshold of the rough map (ClipSAM, Eq. 7 and Table 3)."""
    quantile: float = 0.98
    """cascade: foreground is also above this quantile of the image's rough map, so that only the
    extremely anomalous part prompts SAM. Not specified by the paper."""

    # Point prompts of cascade (PPG).
    top_k: int = 5
    """Positive points of each region (Eq. 2's Topk). Not specified by the paper."""
    negative_points: int = 5
    """Negative points of each region. Not specified by the paper."""
    point_rule: PointRule = "distance"
    """How "intervals of 400 pixels" (PPG) is read: a smallest distance between points chosen
    greedily, or a stride in the list of pixels sorted by score."""
    point_distance: float = 0.06
    """Smallest distance between points of one kind. Not specified by the paper."""
    point_stride: float = 400 / 1024**2
    """point_rule "stride": step in the sorted list, as a fraction of the frame's pixels (400 pixels
    of a frame of 1024 x 1024)."""
    negative_rule: NegativeRule = "least_similar_in_ring"
    """Which pixels become negative points: in the ring around the region, those least or most like
    the positive points in SAM's embedding, or of the lowest rough score; or the least similar of
    the whole image (PerSAM's rule); or none. The paper says that they are chosen in the ring by
    comparing features, not in which direction."""
    ring_radius: float = 0.04
    """Radius of the dilation that makes the ring (Eq. 3). Not specified by the paper."""

    # Regions and stages of cascade (CPS).
    regions: int = 5
    """The largest connected components, each with prompts of its own. Not specified by the
    paper."""
    cps_stages: int = 3
    """Stages of CPS: 1 points, 2 the previous mask as well, 3 the box of that mask as well."""
    box_margin: float = 0.02
    """Margin around the box of the stage-2 mask. Not specified by the paper."""

    # Prompts of clipsam (MMR).
    mmr_boxes: int = 10
    """Boxes: one per connected component, the largest ones. q is not specified by the paper."""
    mmr_points: int = 10
    """Random foreground points shared by all boxes. m is not specified by the paper."""

    # Fusion and scores.
    cascade_rough_weight: float = 0.5
    """Weight of the rough map against the best mask in cascade's map. Not specified by the
    paper."""
    cascade_mask_confidence: MaskConfidence = "iou"
    """What a mask of cascade is multiplied by: SAM's predicted IoU, or that times the highest rough
    value of its region: a sharp mask of what is hardly suspicious then raises no false alarm. Not
    specified by the paper."""
    clipsam_divisor: float = 4.0
    """What the sum of rough map and weighted masks is divided by before it is cut at 1 (the Norm of
    ClipSAM, Eq. 9, is not specified)."""
    normalization: Literal["none", "min_max"] = "none"
    """Per-image min-max of the fused map (of clipsam's uncut sum), another reading of Norm; it
    destroys the ranking of images."""
    score_top_fraction: float = 0.005
    """The image score takes the mean of this highest fraction of the map."""
    score_map_weight: float = 0.5
    """Weight of that mean against the class token's abnormal probability in the image score."""
    mask_threshold: float = 0.5
    """Pixels at or above are anomalous; chosen on a checkpoint's training classes (F1-max), for its
    own method: maps and scores of another method have another scale."""
    image_threshold: float = 0.5
    """Images scored at or above are anomalous; chosen likewise (balanced accuracy)."""

    # Optional outputs: a jitted program computes everything it returns.
    return_prompts: bool = False
    """Return points, labels and boxes with their validity."""
    return_masks: bool = False
    """Return SAM's low-resolution mask logits and predicted IoU."""

    def __post_init__(self):
        for name in (
            "method",
            "rough",
            "compute_dtype",
            "clip_turns",
            "rough_upsampling",
            "point_rule",
            "negative_rule",
            "cascade_mask_confidence",
            "normalization",
        ):
            _check_choice(name, getattr(self, name), _choices(PipelineConfig, name))
        for name, low, high in _RANGES:
            value = getattr(self, name)
            if not low <= value <= high:
                expected = f"between {low} and {high}" if high < 1e6 else f"at least {low}"
                raise ConfigError(f"pipeline.{name} is {value}: expected {expected}")
        if min(self.clip_size) < 1:
            raise ConfigError(
                f"pipeline.clip_image_size is {self.clip_image_size}: expected positive pixels"
            )
        if min(self.clip_more_sizes, default=1) < 1:
            raise ConfigError(
                f"pipeline.clip_more_sizes is {self.clip_more_sizes}: expected positive pixels"
            )
        sizes = self._clip_sizes
        if len(set(sizes)) < len(sizes):
            raise ConfigError(
                f"pipeline.clip_more_sizes is {self.clip_more_sizes} beside clip_image_size "
                f"{self.clip_image_size}: expected every size once"
            )
        if self.clip_turns == 4 and len(set(self.clip_size)) > 1:
            raise ConfigError(
                "pipeline.clip_turns is 4, which needs a square, but clip_image_size is "
                f"{self.clip_image_size}: expected one side, or turns 1 or 2"
            )

    @property
    def clip_size(self) -> tuple[int, int]:
        """(height, width) of CLIP's input, pixels."""
        size = self.clip_image_size
        return (size, size) if isinstance(size, int) else size

    @property
    def clip_looks(self) -> dict[tuple[int, int], tuple[int, ...]]:
        """(height, width) of CLIP's input -> the quarter turns in which it sees the photo so."""
        sizes = self._clip_sizes
        looks: dict[tuple[int, int], tuple[int, ...]] = {}
        for look in range(max(len(sizes), self.clip_turns)):
            size = sizes[look % len(sizes)]
            looks[size] = (*looks.get(size, ()), look % self.clip_turns * 4 // self.clip_turns)
        return looks

    @property
    def _clip_sizes(self) -> list[tuple[int, int]]:
        return [self.clip_size, *((side, side) for side in self.clip_more_sizes)]


_MANY = 1e6
_RANGES = (
    ("similarity_weight", 0.0, 1.0),
    ("umci_stages", 0, _MANY),
    ("guided_radius", 0.0, 0.5),
    ("guided_epsilon", 1e-6, _MANY),
    ("refine_at_a_time", 0, _MANY),
    ("rough_threshold", 0.0, 1.0),
    ("quantile", 0.0, 1.0),
    ("top_k", 1, 1000),
    ("negative_points", 1, 1000),
    ("point_distance", 0.0, 1.0),
    ("point_stride", 0.0, 0.1),
    ("ring_radius", 0.0, 0.5),
    ("regions", 1, 1000),
    ("cps_stages", 1, 3),
    ("box_margin", 0.0, 1.0),
    ("mmr_boxes", 1, 1000),
    ("mmr_points", 1, 1000),
    ("cascade_rough_weight", 0.0, 1.0),
    ("clipsam_divisor", 1.0, _MANY),
    ("score_top_fraction", 0.0, 1.0),
    ("score_map_weight", 0.0, 1.0),
    ("mask_threshold", 0.0, 1.0),
    ("image_threshold", 0.0, 1.0),
)


@dataclasses.dataclass(frozen=True)
class Config:
    """A checkpoint's settings; a network that the checkpoint lacks is None."""

    clip: ClipConfig | None = None
    sam: SamConfig | None = None
    umci: UmciConfig | None = None
    pipeline: PipelineConfig = dataclasses.field(default_factory=PipelineConfig)

    def __post_init__(self):
        if self.clip is None or self.umci is None:
            return
        for name, found, expected in (
            ("width", self.umci.width, self.clip.vision_width),
            ("text_dim", self.umci.text_dim, self.clip.embed_dim),
        ):
            if found != expected:
                raise ConfigError(f"umci.{name} is {found}: expected CLIP's {expected}")
        if max(self.umci.layers) > self.clip.vision_layers:
            raise ConfigError(
                f"umci.layers is {self.umci.layers}: expected blocks of CLIP's 1 to "
                f"{self.clip.vision_layers}"
            )

    def to_dict(self) -> dict[str, Any]:
        """The config as plain JSON types."""
        return to_dict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Config":
        """Reads what `to_dict` wrote; missing fields take their defaults.

        Raises:
            ConfigError: an unknown field (with the nearest known one), a wrong type or value.
        """
        return from_dict(cls, data)


def to_dict(config: Any) -> dict[str, Any]:
    """A dataclass as plain JSON types: nested dictionaries, tuples as lists."""
    return _plain(dataclasses.asdict(config))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    return value


def from_dict(cls: type, data: Any, path: str = "config") -> Any:
    """Builds the dataclass `cls` from JSON types, strictly.

    Raises:
        ConfigError: an unknown or missing field or a wrong type; `path` names the field.
    """
    if not isinstance(data, Mapping):
        raise ConfigError(f"{path} is {data!r}: expected a table of fields")
    types_by_name = typing.get_type_hints(cls)
    fields = {field.name: field for field in dataclasses.fields(cls) if field.init}
    for name in data:
        if name not in fields:
            raise ConfigError(f"{path} has no field {name!r}{suggestion(name, fields)}")
    for name, field in fields.items():
        no_default = field.default is dataclasses.MISSING
        if name not in data and no_default and field.default_factory is dataclasses.MISSING:
            raise ConfigError(
                f"{path}.{name} is missing: expected {_describe(types_by_name[name])}"
            )
    values = {
        name: _convert(value, types_by_name[name], f"{path}.{name}") for name, value in data.items()
    }
    return cls(**values)


def suggestion(name: Any, known: Iterable[Any]) -> str:
    """The end of an error sentence: the nearest known name, or all of them."""
    known = sorted(map(str, known))
    near = difflib.get_close_matches(str(name), known, n=1)
    return f": did you mean {near[0]!r}?" if near else f": expected one of {', '.join(known)}"


def _convert(value: Any, kind: Any, path: str) -> Any:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return _convert_union(value, kind, path)
    if origin is Literal:
        _check_choice(path, value, arguments)
        return value
    if dataclasses.is_dataclass(kind):
        return from_dict(typing.cast(type, kind), value, path)
    if origin is tuple and isinstance(value, list | tuple):
        repeated = len(arguments) == 2 and arguments[1] is Ellipsis
        kinds = arguments[:1] * len(value) if repeated else arguments
        if len(kinds) == len(value):
            return tuple(
                _convert(item, item_kind, f"{path}[{index}]")
                for index, (item, item_kind) in enumerate(zip(value, kinds, strict=True))
            )
    elif kind is float and isinstance(value, int | float) and not isinstance(value, bool):
        with contextlib.suppress(OverflowError):
            return float(value)
    elif kind is type(None) and value is None:
        return None
    elif kind in (int, str, bool) and type(value) is kind:
        return value
    raise ConfigError(f"{path} is {value!r}: expected {_describe(kind)}")


def _convert_union(value: Any, kind: Any, path: str) -> Any:
    alternatives = typing.get_args(kind)
    if value is None and type(None) in alternatives:
        return None
    alternatives = [item for item in alternatives if item is not type(None)]
    # A table can only be the one dataclass of the union: its own errors say more.
    if isinstance(value, Mapping):
        for alternative in alternatives:
            if dataclasses.is_dataclass(alternative):
                return _convert(value, alternative, path)
    for alternative in alternatives:
        try:
            return _convert(value, alternative, path)
        except ConfigError:
            continue
    raise ConfigError(f"{path} is {value!r}: expected {_describe(kind)}")


def _describe(kind: Any) -> str:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    names = {int: "an integer", float: "a number", str: "a string", bool: "true or false"}
    if origin in (typing.Union, types.UnionType):
        return " or ".join("null" if item is type(None) else _describe(item) for item in arguments)
    if origin is tuple:
        if len(arguments) == 2 and arguments[1] is Ellipsis:
            return f"a list, each {_describe(arguments[0])}"
        return f"a list of {len(arguments)}, each {_describe(arguments[0])}"
    if dataclasses.is_dataclass(kind):
        return "a table of fields"
    return names.get(kind, str(kind))


def _choices(cls: type, name: str) -> tuple[Any, ...]:
    return typing.get_args(typing.get_type_hints(cls)[name])


def _check_choice(path: str, value: Any, choices: tuple[Any, ...]) -> None:
    if not any(value == choice and type(value) is type(choice) for choice in choices):
        raise ConfigError(f"{path} is {value!r}{suggestion(value, choices)}")
