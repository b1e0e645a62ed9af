"""The sizes of a SAM that runs in no time, for tests of what is built around it."""

from zsas_jax.networks.sam import SamConfig

SMALL_SAM = SamConfig(
    image_size=64,
    width=8,
    depth=1,
    heads=2,
    global_attn_indexes=(),
    window_size=3,
    out_chans=16,
    mask_channels=8,
    decoder_depth=1,
    decoder_heads=2,
    decoder_mlp_dim=16,
    iou_head_depth=2,
    iou_head_hidden=16,
)
