"""SAM's decoder equals transformers' to 1e-4 of its largest value, whatever the prompts."""

import numpy as np
import pytest
import sam_reference as reference
import torch

TOLERANCE = 1e-4
KINDS = ("points", "boxes", "masks")
COMBINATIONS = [(), ("points",), ("boxes",), ("masks",), ("points", "boxes"), KINDS]


@pytest.fixture(scope="module")
def theirs():
    return reference.torch_sam()


@pytest.fixture(scope="module")
def ours(theirs):
    return reference.converted(theirs)


@pytest.fixture(scope="module")
def embedding(theirs):
    with torch.no_grad():
        image = torch.from_numpy(np.moveaxis(reference.pixels(), -1, 1).copy())
        return np.moveaxis(theirs.get_image_embeddings(image).numpy(), 1, -1)


def assert_same(prediction, expected, tolerance=TOLERANCE):
    for mine, their in zip(prediction, expected, strict=True):
        assert reference.relative_difference(mine, their) < tolerance


def choose(kinds, **options):
    prompt = reference.prompts(**options)
    points, labels = (prompt[name] if "points" in kinds else None for name in ("points", "labels"))
    boxes, masks = (prompt[name] if name in kinds else None for name in ("boxes", "masks"))
    return points, labels, boxes, masks


@pytest.mark.parametrize("kinds", COMBINATIONS, ids="+".join)
def test_masks_of_every_prompt(ours, theirs, embedding, kinds):
    prompt = choose(kinds)
    points, labels, boxes, masks = prompt
    # All four masks at once: `test_multimask_selects` shows that the choices are slices of these.
    every = reference.decode(ours, embedding, points, labels, None, boxes, masks, multimask=None)
    assert every.logits.shape == (2, 3 if kinds else 1, 4, 24, 24)
    for multimask, which in ((True, slice(1, None)), (False, slice(0, 1))):
        expected = reference.reference_masks(theirs, embedding, *prompt, multimask)
        assert_same([output[:, :, which] for output in every], expected)


def test_multimask_selects(ours, embedding):
    points, labels, _, _ = choose(("points",))
    every, multi, single = (
        reference.decode(ours, embedding, points, labels, None, None, None, multimask=choice)
        for choice in (None, True, False)
    )
    for whole, three, one in zip(every, multi, single, strict=True):
        assert reference.relative_difference(whole[:, :, 1:], three) < 1e-5
        assert reference.relative_difference(whole[:, :, :1], one) < 1e-5


@pytest.mark.parametrize("garbage", [17.0, 1e6, np.nan])
@pytest.mark.parametrize("kinds", [("points",), KINDS], ids="+".join)
def test_padded_prompt_equals_shorter_prompt(ours, theirs, embedding, kinds, garbage):
    # Three points, padded to ten with invalid ones between and after them.
    points, labels, boxes, masks = choose(kinds)
    where = np.array([1, 4, 5])
    padded = np.full((2, 3, 10, 2), garbage, np.float32)
    padded_labels = np.ones((2, 3, 10), np.int32)
    valid = np.zeros((2, 3, 10), bool)
    padded[:, :, where], padded_labels[:, :, where], valid[:, :, where] = points, labels, True
    prediction = reference.decode(ours, embedding, padded, padded_labels, valid, boxes, masks)
    assert_same(
        prediction, reference.reference_masks(theirs, embedding, points, labels, boxes, masks)
    )


def test_regions_with_different_numbers_of_points(ours, theirs, embedding):
    points, labels, _, _ = choose(("points",), points=10)
    counts = np.array([[1, 2, 10], [3, 0, 1]])
    valid = np.arange(10) < counts[..., None]
    logits, iou = reference.decode(ours, embedding, points, labels, valid, None, None)
    for image, region in np.ndindex(2, 3):
        few = slice(0, counts[image, region])
        one = (slice(image, image + 1), slice(region, region + 1), few)
        expected = reference.reference_masks(
            theirs, embedding[image : image + 1], points[one], labels[one]
        )
        ours_here = (logits[image, region][None, None], iou[image, region][None, None])
        assert_same(ours_here, expected)
