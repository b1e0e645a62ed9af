"""The PyTorch models of the networks' own tests serve here too."""

import pathlib
import sys

for room in ("clip", "sam"):
    sys.path.append(str(pathlib.Path(__file__).resolve().parents[1] / room))
