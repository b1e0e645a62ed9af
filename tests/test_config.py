import dataclasses
import json

import pytest

from zsas_jax.clip.config import ClipConfig
from zsas_jax.config import Config, PipelineConfig, from_dict, to_dict
from zsas_jax.errors import ConfigError
from zsas_jax.sam.config import SamConfig
from zsas_jax.umci.config import UmciConfig

FULL = Config(
    clip=ClipConfig(vision_width=768, embed_dim=512),
    sam=SamConfig(),
    umci=UmciConfig(width=768, text_dim=512, layers=(3, 6, 9, 12)),
    pipeline=PipelineConfig(method="clipsam", clip_image_size=(240, 320), top_k=3),
)


@pytest.mark.parametrize("config", [Config(), FULL, Config(sam=SamConfig.vit_h())])
def test_json_round_trip(config):
    data = config.to_dict()
    assert json.loads(json.dumps(data)) == data
    assert Config.from_dict(json.loads(json.dumps(data))) == config
    hash(Config.from_dict(data))


def test_missing_fields_take_defaults_and_integers_become_numbers():
    config = Config.from_dict({"pipeline": {"quantile": 1}})
    assert config.pipeline == PipelineConfig(quantile=1.0)
    assert isinstance(config.pipeline.quantile, float)
    assert config.clip is None


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"pipelin": {}}, ["'pipelin'", "did you mean 'pipeline'"]),
        ({"pipeline": {"topk": 3}}, ["config.pipeline", "'topk'", "did you mean 'top_k'"]),
        ({"pipeline": {"top_k": 3.5}}, ["config.pipeline.top_k", "3.5", "an integer"]),
        ({"pipeline": {"top_k": True}}, ["config.pipeline.top_k", "an integer"]),
        ({"pipeline": {"quantile": "high"}}, ["quantile", "'high'", "a number"]),
        ({"pipeline": {"method": "cascad"}}, ["'cascad'", "did you mean 'cascade'"]),
        ({"pipeline": {"return_masks": 1}}, ["return_masks", "true or false"]),
        ({"pipeline": {"clip_image_size": [1, 2, 3]}}, ["clip_image_size", "[1, 2, 3]"]),
        ({"pipeline": {"clip_image_size": 0}}, ["clip_image_size", "positive"]),
        ({"pipeline": {"clip_more_sizes": [32, 0]}}, ["clip_more_sizes", "positive"]),
        ({"pipeline": {"clip_more_sizes": [448, 518]}}, ["clip_more_sizes", "every size once"]),
        ({"pipeline": {"clip_turns": 3}}, ["clip_turns", "3", "1, 2, 4"]),
        ({"pipeline": {"clip_turns": 2.0}}, ["clip_turns", "2.0", "1, 2, 4"]),
        ({"pipeline": {"clip_turns": 4, "clip_image_size": [8, 16]}}, ["clip_turns", "square"]),
        ({"pipeline": {"quantile": 10**400}}, ["quantile", "a number"]),
        ({"pipeline": {"quantile": 1.5}}, ["quantile", "1.5", "between 0.0 and 1.0"]),
        ({"pipeline": {"guided_epsilon": 0}}, ["guided_epsilon is 0", "at least 1e-06"]),
        ({"pipeline": {"umci_stages": -1}}, ["umci_stages is -1", "at least 0"]),
        ({"pipeline": {"cps_stages": 4}}, ["cps_stages", "between 1 and 3"]),
        ({"pipeline": []}, ["config.pipeline", "table"]),
        ({"umci": {"layers": [1, "2"]}}, ["config.umci.layers[1]", "'2'", "an integer"]),
        ({"sam": {"patch_size": 0}}, ["SamConfig.patch_size is 0"]),
        ({"sam": {"decoder_heads": 0}}, ["SamConfig.decoder_heads is 0"]),
        ({"sam": {"pixel_std": [1, 1]}}, ["SamConfig.pixel_std has not 3"]),
        ({"sam": {"pixel_std": [1, 0, 1]}}, ["pixel_std above 0"]),
        ({"clip": {"pixel_std": [1, 0, 1]}}, ["ClipConfig.pixel_std"]),
        ({"sam": {"widht": 3}}, ["config.sam", "did you mean 'width'"]),
        ({"clip": 3}, ["config.clip", "table of fields or null"]),
        ({"clip": to_dict(ClipConfig()), "umci": {"width": 5}}, ["umci.width", "768"]),
        (
            {"clip": to_dict(ClipConfig()), "umci": {"width": 768, "text_dim": 512}},
            ["umci.layers", "1 to 12"],
        ),
    ],
)
def test_errors_name_field_finding_and_expectation(data, words):
    with pytest.raises(ConfigError) as caught:
        Config.from_dict(data)
    for word in words:
        assert word in str(caught.value)


def test_required_fields_are_required():
    @dataclasses.dataclass(frozen=True)
    class Run:
        steps: int
        rate: float = 1.0

    assert from_dict(Run, {"steps": 2}) == Run(2)
    with pytest.raises(ConfigError, match=r"run\.steps is missing: expected an integer"):
        from_dict(Run, {"rate": 2}, "run")


def test_pipeline_config_is_hashable_and_sizes_are_height_width():
    assert len({PipelineConfig(), PipelineConfig(), PipelineConfig(top_k=4)}) == 2
    assert PipelineConfig(clip_image_size=240).clip_size == (240, 240)
    assert PipelineConfig(clip_image_size=(240, 320)).clip_size == (240, 320)


def test_looks_at_a_photo_go_through_sizes_and_orientations():
    config = PipelineConfig(clip_image_size=32)
    assert config.clip_looks == {(32, 32): (0,)}
    config = dataclasses.replace(config, clip_turns=4)
    assert config.clip_looks == {(32, 32): (0, 1, 2, 3)}
    config = dataclasses.replace(config, clip_more_sizes=(24,))
    assert config.clip_looks == {(32, 32): (0, 2), (24, 24): (1, 3)}
    config = dataclasses.replace(config, clip_turns=2, clip_more_sizes=(24, 40))
    assert config.clip_looks == {(32, 32): (0,), (24, 24): (2,), (40, 40): (0,)}


def test_every_pipeline_field_can_be_given_on_a_command_line():
    tyro = pytest.importorskip("tyro")
    arguments = ["--clip-image-size", "240", "320", "--negative-rule", "none", "--top-k", "3"]
    config = tyro.cli(PipelineConfig, args=arguments)
    assert config == PipelineConfig(clip_image_size=(240, 320), negative_rule="none", top_k=3)
