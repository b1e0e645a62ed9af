"""The contact sheets of the generator's documentation."""

import numpy as np

from zsas_jax.data.synthetic import EVAL_CLASSES
from zsas_jax.data.synthetic.gallery import LABEL, OUTLINE, contact_sheet


def test_a_sheet_has_a_tile_for_every_class_and_outlines_defects():
    sheet = np.asarray(contact_sheet("eval", columns=5, tile=48), np.int16)
    rows = -(-len(EVAL_CLASSES) // 5)
    assert sheet.shape == (rows * (48 + LABEL), 5 * 48, 3)
    good = np.asarray(contact_sheet("eval", columns=5, tile=48, good=True), np.int16)
    magenta = [(np.abs(picture - OUTLINE).sum(-1) < 120).sum() for picture in (sheet, good)]
    assert magenta[0] > 10 * max(magenta[1], 1)
