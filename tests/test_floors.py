"""Imports run down the floors of the package, and nothing is known by name but where it lives.

python tests/test_floors.py prints the arrows between rooms.
"""

import ast
import functools
import pathlib
import re
from collections import Counter, defaultdict
from graphlib import TopologicalSorter

ROOT = pathlib.Path(__file__).resolve().parents[1] / "zsas_jax"

# From the ground up; rooms of one floor do not import each other, but for what comes earlier in it.
FLOORS = [
    ["errors", "files", "config"],
    ["ops", "data", "metrics"],
    ["convert"],
    ["networks"],
    ["checkpoints", "testing"],
    ["parts"],
    ["methods"],
    ["segment", "parallel", "predict"],
    ["evaluation"],
    ["training"],
    ["tasks"],
    ["benchmarks", "promptable", "ablations"],
    ["report"],
    ["__init__"],
    ["cli"],
    ["__main__"],
]
ORDER = [room for floor in FLOORS for room in floor]
OPTIONAL = {"torch", "transformers", "huggingface_hub", "tensorflow_datasets", "sklearn"}


@functools.cache
def modules():
    """Dotted name within the package -> file."""
    return {
        ".".join(path.relative_to(ROOT).with_suffix("").parts): path
        for path in sorted(ROOT.rglob("*.py"))
    }


def imported(path):
    """(module, whether inside a function) of every import."""
    tree = ast.parse(path.read_text("utf-8"))
    inside = {
        id(node)
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for node in ast.walk(function)
    }
    known = modules()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            base = (node.module or "").removeprefix("zsas_jax").lstrip(".")
            names = []
            for alias in node.names:
                deeper = ".".join(filter(None, [base, alias.name]))
                is_module = deeper in known or f"{deeper}.__init__" in known
                inner = node.module == "zsas_jax" or (node.module or "").startswith("zsas_jax.")
                names.append(f"zsas_jax.{deeper}" if inner and is_module else node.module)
        else:
            continue
        for name in names:
            yield name, id(node) in inside


def target(name):
    """The module of this package that an import names, or None."""
    if name != "zsas_jax" and not name.startswith("zsas_jax."):
        return None
    inner = name.removeprefix("zsas_jax").lstrip(".")
    known = modules()
    return next(
        found for found in (inner, f"{inner}.__init__" if inner else "__init__") if found in known
    )


@functools.cache
def arrows():
    """Module -> modules of this package that it imports."""
    found = defaultdict(set)
    for module, path in modules().items():
        for name, _ in imported(path):
            other = target(name)
            if other is not None and other != module:
                found[module].add(other)
    return found


def room(module):
    return module.partition(".")[0]


def test_every_room_has_a_floor():
    assert sorted(set(map(room, modules()))) == sorted(ORDER)


def test_imports_run_down():
    wrong = [
        f"{module} imports {other}"
        for module, others in arrows().items()
        for other in others
        if room(other) != room(module) and ORDER.index(room(other)) > ORDER.index(room(module))
    ]
    assert not wrong


def test_no_circle():
    """Handing names on, as `__init__` does, counts like any other import."""
    TopologicalSorter(arrows()).prepare()


def test_imports_stand_at_the_top():
    """The command line starts fast by importing late; extras and PyTorch may be missing."""
    wrong = [
        f"{module} imports {name} inside a function"
        for module, path in modules().items()
        if room(module) != "cli"
        for name, late in imported(path)
        if late and name.partition(".")[0] not in OPTIONAL and ".torch_" not in name
    ]
    assert not wrong


def test_the_report_reads_results_alone():
    allowed = {"errors", "files", "config", "metrics", "report", "evaluation", "data"}
    reached = {room(o) for m, others in arrows().items() if room(m) == "report" for o in others}
    assert reached <= allowed


def test_networks_and_methods_are_named_where_they_live_alone():
    from zsas_jax.methods import HEADS, METHODS, REFINERS
    from zsas_jax.networks import NETWORKS

    names = {*HEADS, *METHODS, *REFINERS, *NETWORKS}
    wrong = []
    for module, path in modules().items():
        parts = module.split(".")
        if parts[0] in ("methods", "networks"):
            continue
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                words = {node.value} if node.value in names else set()
                # A task may name the network that it trains.
                if parts[0] == "tasks" and parts[-1] in words:
                    continue
                wrong += [f"{module}:{node.lineno} has the name {word!r}" for word in words]
    assert not wrong


def test_a_network_knows_no_other():
    from zsas_jax.networks import NETWORKS

    wrong = []
    for module, others in arrows().items():
        folder = re.match(r"networks\.(\w+)\.", module)
        if folder and folder[1] in NETWORKS:
            wrong += [
                f"{module} imports {other}"
                for other in others
                if (match := re.match(r"networks\.(\w+)\.", other)) and match[1] != folder[1]
            ]
    assert not wrong


if __name__ == "__main__":
    counts = Counter((room(m), room(o)) for m, others in arrows().items() for o in others)
    for upper in reversed(ORDER):
        below = {lower: counts[upper, lower] for lower in reversed(ORDER) if counts[upper, lower]}
        below.pop(upper, None)
        print(f"{upper:12} -> {', '.join(f'{name} {count}' for name, count in below.items())}")
