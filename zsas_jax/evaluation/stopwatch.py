"""Where the time of a run goes."""

import contextlib
import time
from collections import defaultdict
from collections.abc import Iterator


class Steps(defaultdict[str, float]):
    """Seconds by step."""

    def __init__(self):
        super().__init__(float, {"compile": 0.0, "prepare": 0.0})

    @contextlib.contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Adds the time of a block to a step."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self[name] += time.perf_counter() - started
