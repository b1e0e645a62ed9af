"""What counts as an object, a part and a piece of a defect in a picture drawn here."""

import numpy as np

from zsas_jax.data.synthetic.targets import find_targets

CLEAN = np.zeros((100, 100), bool)


def _disk(radius: float, x: float = 50, y: float = 50) -> np.ndarray:
    rows, columns = np.mgrid[:100, :100]
    return np.hypot(rows - y, columns - x) < radius


def _areas(masks: list[np.ndarray]) -> list[int]:
    return [int(mask.sum()) for mask in masks]


def test_a_part_has_what_lies_on_it_but_not_the_hole_through_it():
    segments = np.where(_disk(30), 1, 0)
    segments[_disk(20)] = 2
    segments[_disk(10)] = 0  # The ground is seen through it.
    defect = _disk(2, x=50, y=35)
    segments[defect] = 3
    found = find_targets(segments, defect, 4)
    np.testing.assert_array_equal(found.defects, [defect])
    rings = [_disk(30) & ~_disk(10), _disk(20) & ~_disk(10)]
    np.testing.assert_array_equal(found.things, rings)


def test_a_defect_at_an_edge_is_not_part_of_the_object():
    segments = np.where(_disk(30), 1, 0)
    defect = _disk(5, x=80, y=50)
    segments[defect] = 2
    np.testing.assert_array_equal(find_targets(segments, defect, 4).things, [_disk(30) & ~defect])


def test_parts_side_by_side_are_one_object_more():
    segments = np.zeros((100, 100), np.int32)
    segments[20:40, 20:40], segments[20:40, 40:50] = 1, 2
    assert _areas(find_targets(segments, CLEAN, 4).things) == [400, 200, 600]


def test_no_object_more_where_one_part_is_nearly_all_of_it():
    segments = np.zeros((100, 100), np.int32)
    segments[20:60, 20:60], segments[30:32, 60:62] = 1, 2
    assert _areas(find_targets(segments, CLEAN, 4).things) == [1600, 4]


def test_pebbles_and_bricks_that_touch_are_no_object():
    pebbles = np.zeros((100, 100), np.int32)
    pebbles[20:26, 20:26], pebbles[20:26, 26:32] = 1, 2
    assert _areas(find_targets(pebbles, CLEAN, 4).things) == [36, 36]
    bricks = np.repeat(np.arange(1, 101).reshape(10, 10), 10, 0).repeat(10, 1)
    assert _areas(find_targets(bricks, CLEAN, 4).things) == [100] * 100


def test_what_is_too_small_is_no_target():
    segments = np.where(_disk(30), 1, 0)
    segments[0, :3] = 2
    defect = CLEAN.copy()
    defect[90:92, :2] = defect[50:60, 50:60] = True
    segments[defect] = 3
    found = find_targets(segments, defect, 5)
    assert _areas(found.defects) == [100]
    np.testing.assert_array_equal(found.things, [_disk(30)])
