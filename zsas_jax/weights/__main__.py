"""`python -m zsas_jax.weights convert|download|inspect|verify ...`."""

import sys

from zsas_jax.weights.cli import main

if __name__ == "__main__":
    sys.exit(main())
