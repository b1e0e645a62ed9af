"""What goes through a method: photos in, rough maps and named intermediates between, maps out."""

from typing import NamedTuple

from jaxtyping import Array, Bool, Float, Int, UInt8, UInt32


class Photos(NamedTuple):
    """A batch of photos, each in the top left corner of its canvas."""

    images: UInt8[Array, "b h w 3"]
    """RGB."""
    sizes: Int[Array, "b 2"]
    """True (height, width), pixels; what lies beyond is not looked at."""
    keys: UInt32[Array, " b"]
    """One random seed for each photo."""


# Named intermediates, of the few kinds that a report draws. All in canvas pixels.


class Heat(NamedTuple):
    """A map in [0, 1] on the canvas."""

    values: Float[Array, "b h w"]


class Points(NamedTuple):
    """Point prompts (x, y) of R regions, with SAM's labels: 1 foreground, 0 background."""

    points: Float[Array, "b r n 2"]
    labels: Int[Array, "b r n"]
    valid: Bool[Array, "b r n"]


class Boxes(NamedTuple):
    """Boxes (x0, y0, x1, y1), the first and the last pixel inside."""

    boxes: Float[Array, "b r 4"]
    valid: Bool[Array, "b r"]


class Masks(NamedTuple):
    """M candidate masks of R regions as low-resolution logits."""

    logits: Float[Array, "b r m lh lw"]
    quality: Float[Array, "b r m"]
    """The network's own estimate of each mask, 0 to 1."""
    extent: Float[Array, "b 2"]
    """The part of the logits' (rows, columns) that the photo takes, from the top left corner."""
    valid: Bool[Array, "b r"]


Stage = Heat | Points | Boxes | Masks
ALL_STAGES = ("*",)


class Maps(NamedTuple):
    """What `segment` returns."""

    anomaly_map: Float[Array, "b h w"]
    """In [0, 1]; 0 outside a photo's true size."""
    image_score: Float[Array, " b"]
    stages: dict[str, Stage]
    """Named intermediates in the order in which they arise."""


class Rough(NamedTuple):
    """What a head says before anything is refined."""

    grid: Float[Array, "b gh gw"]
    """S_a on the head's own grid, each covering its whole photo."""
    canvas: Float[Array, "b h w"]
    """S_a at the photo's own pixels."""
    probability: Float[Array, " b"]
    """That the photo as a whole is anomalous."""


class Refined(NamedTuple):
    """What a refiner makes of a rough map."""

    fused: Float[Array, "b h w"]
    """At the photo's own pixels; not yet cut to the photo."""
    stages: dict[str, Stage]
