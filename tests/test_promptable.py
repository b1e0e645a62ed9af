"""What a SAM segments from a click and a box, measured on pictures and on shapes made here."""

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import zsas_jax
from zsas_jax import promptable
from zsas_jax.__main__ import main
from zsas_jax.data.synthetic import Sample, SyntheticSource
from zsas_jax.networks.sam import NETWORK, Sam
from zsas_jax.testing import dummy_bundle, random_weights


def _sample() -> Sample:
    """An object of 40 x 30 pixels with two defects in it and a speck beside it, at side 128."""
    segments = np.zeros((128, 128), np.int32)
    segments[20:60, 30:60] = 1
    segments[100, 100] = 2
    mask = np.zeros((128, 128), bool)
    mask[25:30, 35:40] = mask[50:55, 50:55] = True
    segments[mask] = 3
    return Sample(np.zeros((128, 128, 3), np.uint8), mask, segments, "nut", "hole", "a nut")


def test_targets_are_objects_as_without_their_defects_and_each_piece_of_a_defect():
    found = promptable.targets(_sample())
    kinds = [(target.kind, int(target.mask.sum())) for target in found]
    assert kinds == [("defect", 25), ("defect", 25), ("object", 40 * 30)]


def test_the_click_is_farthest_from_the_edge():
    mask = np.zeros((32, 64), bool)
    mask[0:21, 10:21] = True  # touches the border, which counts as an edge
    x, y = promptable.innermost(mask)
    assert x == 15
    assert 5 <= y <= 15


def test_a_network_that_gives_one_answer_scores_what_that_answer_scores(monkeypatch):
    """Logits above zero everywhere: the click's and the box's mask are the whole picture."""
    sam = random_weights(lambda: Sam(NETWORK.small, rngs=nnx.Rngs(0)), 0)

    def everything(sam, embedding, points=None, labels=None, boxes=None, multimask=True):
        regions = (boxes if points is None else points).shape[1]
        shape = (1, regions, 3 if multimask else 1)
        return promptable.sam_network.MaskPrediction(jnp.ones((*shape, 16, 16)), jnp.zeros(shape))

    monkeypatch.setattr(promptable.sam_network, "decode_masks", everything)
    source = SyntheticSource("eval", 1, per_class=2, size=64, classes=("screw",))
    rows = list(promptable.intersections(sam, source))
    assert rows
    sizes = [t.mask.mean() for i in range(2) for t in promptable.targets(source.sample(i))]
    for _, area, (click, oracle, box, filled) in rows:
        assert min(abs(area - size) for size in sizes) < 1e-6
        assert click == oracle == box
        assert min(abs(click - size) for size in sizes) < 1e-6
        assert filled >= click


def test_every_prompt_of_a_real_decoder_is_scored():
    sam = random_weights(lambda: Sam(NETWORK.small, rngs=nnx.Rngs(0)), 0)
    source = SyntheticSource("eval", 1, per_class=2, size=96, classes=("screw",))
    rows = list(promptable.intersections(sam, source))
    values = np.array([row.values for row in rows])
    assert values.shape[1] == len(promptable.PROMPTS)
    assert ((values >= 0) & (values <= 1)).all()
    assert (values[:, 1] >= values[:, 0]).all()


def test_the_table_parts_targets_by_kind_and_by_area():
    scores = [
        promptable.Score("defect", 0.001, [0.1, 0.2, 0.3, 0.4]),
        promptable.Score("object", 0.005, [0.2, 0.3, 0.4, 0.5]),
        promptable.Score("object", 0.5, [0.6, 0.7, 0.8, 0.9]),
    ]
    assert promptable.table(scores).splitlines()[2:] == [
        "| defect | 1 | 0.100 | 0.200 | 0.300 | 0.400 |",
        "| object | 2 | 0.400 | 0.500 | 0.600 | 0.700 |",
        "| all | 3 | 0.300 | 0.400 | 0.500 | 0.600 |",
        "| below 0.5% | 1 | 0.100 | 0.200 | 0.300 | 0.400 |",
        "| 0.5% to 5% | 1 | 0.200 | 0.300 | 0.400 | 0.500 |",
        "| 5% and above | 1 | 0.600 | 0.700 | 0.800 | 0.900 |",
    ]
    assert len(promptable.table(scores[:1]).splitlines()) == 5


@pytest.mark.parametrize("arguments", [["--checkpoint", "nowhere"], ["--per-class", "0"]])
def test_mistakes_are_one_sentence(arguments, capsys):
    assert main(["promptable", *arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert len(error.splitlines()) == 1


def test_a_checkpoint_without_a_sam_is_one_sentence(tmp_path, capsys):
    zsas_jax.save(tmp_path / "no_sam", dummy_bundle(["clip"]))
    assert main(["promptable", "--checkpoint", str(tmp_path / "no_sam")]) == 2
    assert "has no SAM" in capsys.readouterr().err
