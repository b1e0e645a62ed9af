"""Runs conversions that kill themselves at a chosen point, each in a process of its own.

    python killed_conversion.py SOURCE OUTPUT

Forks once per point before JAX starts anything; every child converts SAM SOURCE into OUTPUT-POINT
and dies by SIGKILL when it comes to the point. Prints one line "POINT EXITCODE" each.
"""

import os
import pathlib
import signal
import sys

from zsas_jax.checkpoints import convert, identify
from zsas_jax.convert.tensors import FileTensor

# The package has a function of that name.
save = sys.modules["zsas_jax.checkpoints.save"]


def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)


def after(function):
    def wrapped(*args, **kwargs):
        function(*args, **kwargs)
        die()

    return wrapped


def nth_read(count):
    original, calls = FileTensor.read, []

    def read(self):
        calls.append(1)
        return die() if len(calls) == count else original(self)

    return read


def in_the_middle_of_arrays(directory, networks):
    """What a kill while they are written leaves: a part of the file."""
    (directory / "model.safetensors").write_bytes(b"\0" * 1000)
    die()


POINTS = {
    "opened": lambda: setattr(identify.Source, "read", die),
    "reading": lambda: setattr(FileTensor, "read", nth_read(20)),
    "arrays": lambda: setattr(save, "save_arrays", in_the_middle_of_arrays),
    "saved": lambda: setattr(save, "save_arrays", after(save.save_arrays)),
    "settings": lambda: setattr(save, "write_json", after(save.write_json)),
    "manifest": lambda: setattr(save, "write_manifest", after(save.write_manifest)),
    "replacing": lambda: setattr(pathlib.Path, "rename", after(pathlib.Path.rename)),
}

if __name__ == "__main__":
    source, output = sys.argv[1:]
    for name, prepare in POINTS.items():
        child = os.fork()
        if child == 0:
            prepare()
            target = f"{output}-{name}"
            convert.convert_checkpoint(target, {"sam": source}, overwrite=name == "replacing")
            os._exit(0)
        print(name, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
