"""How the house is built: which way imports point, what stays light, what stands twice and must be equal."""

import ast
import functools
import graphlib
import importlib.util
import json
import pathlib
import subprocess
import sys
import typing

import pytest

import udvd_core

ROOT = pathlib.Path(__file__).parent.parent

# From the ground up: a module imports from its own floor and from those below, never from above. A package's modules
# stand on the package's floor unless they are named here themselves; "udvd_core" is its __init__.py alone.
FLOORS: tuple[tuple[str, ...], ...] = (
    ("udvd_core", "udvd_core.errors"),
    ("udvd_core.axes", "udvd_core.give_way"),
    ("udvd_core.settings",),
    (
        *(
            "udvd_core.detector",
            "udvd_core.device",
            "udvd_core.files",
            "udvd_core.framing",
            "udvd_core.maps",
            "udvd_core.metrics",
        ),
        *("udvd_core.noise", "udvd_core.normalise", "udvd_core.saturation", "udvd_core.simulate", "udvd_core.tiling"),
        "udvd_core.lowrank.uncertainty",
    ),
    (
        *("udvd_core.blindspot", "udvd_core.buffer", "udvd_core.defects", "udvd_core.flicker"),
        *("udvd_core.dose", "udvd_core.hidden", "udvd_core.sparks", "udvd_core.split"),
    ),
    (
        *(
            "udvd_core.camera",
            "udvd_core.flat",
            "udvd_core.lowrank.place",
            "udvd_core.lowrank.shrink",
            "udvd_core.lowrank.edge",
        ),
        *("udvd_core.pca", "udvd_core.trust"),
    ),
    ("udvd_core.lowrank", "udvd_core.intake", "udvd_core.monitor"),
    ("udvd_core.guide",),
    ("udvd_core.blind",),
    (
        *("udvd_core.checkpoint", "udvd_core.correction", "udvd_core.inference", "udvd_core.model"),
        "udvd_core.trainer",
    ),
    ("udvd_core.components", "udvd_core.guided", "udvd_core.udvd"),
    ("udvd_core.corrected",),
    ("udvd_core.models",),
    ("udvd_core.session",),
    ("udvd_core.candidates",),
    ("udvd_core.engine",),
    ("udvd_core.commands",),
    ("udvd_core.cli", "udvd_core.__main__"),
    ("nionswift_plugin",),
)
# What Swift's process and the command line load at once, and what none of it may make them wait for.
ENTRIES = (
    "nionswift_plugin.udvd_live",
    "nionswift_plugin.udvd_simulator",
    "udvd_core.cli",
    "udvd_core.engine.local",
    "udvd_core.engine.protocol",
)
HEAVY = {"torch", "distributed", "dask"}


class Import(typing.NamedTuple):
    """One imported name; `lazy` where importing the module does not import it yet."""

    target: str
    line: int
    lazy: bool


def _walk(node: ast.AST, lazy: bool = False) -> typing.Iterator[tuple[ast.Import | ast.ImportFrom, bool]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import | ast.ImportFrom):
            yield child, lazy
        function = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        typing_only = isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test)
        yield from _walk(child, lazy or function or typing_only)


@functools.cache
def modules() -> dict[str, pathlib.Path]:
    found = {}
    for top in ("udvd_core", "nionswift_plugin"):
        for path in sorted((ROOT / top).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


@functools.cache
def imports(module: str) -> list[Import]:
    path = modules()[module]
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    found = []
    for node, lazy in _walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            targets = [alias.name for alias in node.names]
        else:
            base = importlib.util.resolve_name("." * node.level + (node.module or ""), package)
            names = [f"{base}.{alias.name}" for alias in node.names]
            targets = [name if name in modules() else base for name in names]
        found += [Import(target, node.lineno, lazy) for target in targets]
    return found


def floor(module: str) -> int:
    """The floor of the longest name in FLOORS that is `module` or a package above it."""
    name = module
    while name and (name != "udvd_core" or name == module):
        for number, names in enumerate(FLOORS):
            if name in names:
                return number
        name = name.rpartition(".")[0]
    pytest.fail(
        f"{module} stands on no floor: add it to FLOORS in tests/test_house.py, as far down as its imports allow"
    )


def loaded_at_import(module: str) -> dict[str, str]:
    """Everything that importing `module` imports, our own modules followed: name and where it is imported."""
    found: dict[str, str] = {}
    todo = [module]
    while todo:
        name = todo.pop()
        above = [name.rsplit(".", n)[0] for n in range(1, name.count(".") + 1)]
        for each in {name, *above} & set(modules()):
            for target, line, lazy in imports(each):
                if not lazy and target not in found:
                    found[target] = f"{modules()[each].relative_to(ROOT)}:{line}"
                    todo.append(target)
    return found


@pytest.mark.parametrize("module", modules())
def test_imports_point_down(module: str) -> None:
    here = floor(module)
    ours = [i for i in imports(module) if i.target in modules()]
    assert not [i for i in ours if floor(i.target) > here], f"{module} imports from a floor above its own; see FLOORS"


def test_every_floor_names_modules_that_exist() -> None:
    assert not {name for names in FLOORS for name in names} - {*modules(), "nionswift_plugin"}


def test_no_cycles() -> None:
    graph = {m: {i.target for i in imports(m) if i.target in modules()} for m in modules()}
    tuple(graphlib.TopologicalSorter(graph).static_order())  # raises CycleError, which names the modules


@pytest.mark.parametrize("module", [m for m in modules() if m.startswith("udvd_core")])
def test_core_imports_no_nion_at_any_depth(module: str) -> None:
    assert not [i for i in imports(module) if i.target.split(".")[0] in ("nion", "nionswift_plugin", "nionlib")]


@pytest.mark.parametrize("module", sorted({*ENTRIES, *(m for m in modules() if m.startswith("nionswift_plugin"))}))
def test_nothing_heavy_is_reached_from_swift_or_the_command_line(module: str) -> None:
    assert module in modules()
    assert not {name: where for name, where in loaded_at_import(module).items() if name.split(".")[0] in HEAVY}


@pytest.mark.parametrize("module", ENTRIES)
def test_nothing_heavy_is_loaded_by_an_entry(module: str) -> None:
    code = f"import sys, {module}; print(*sorted({HEAVY} & set(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, cwd=ROOT)
    assert (run.returncode, run.stdout.strip()) == (0, ""), run.stderr


@pytest.mark.parametrize("module", modules())
def test_every_module_says_what_it_is_for(module: str) -> None:
    assert ast.get_docstring(ast.parse(modules()[module].read_text(encoding="utf-8")))


def test_manifests() -> None:
    # Swift reads the plug-in's own; the one at the root serves a checkout that lies in Swift's PlugIns folder.
    ours, root = (
        json.loads((ROOT / path).read_text()) for path in ("nionswift_plugin/udvd_live/manifest.json", "manifest.json")
    )
    assert ours == root
    for path in (ROOT / "nionswift_plugin").glob("*/manifest.json"):
        manifest = json.loads(path.read_text())
        assert manifest["version"] == udvd_core.__version__, path
        assert all(len(requirement.split()) == 3 for requirement in manifest["requires"])  # all Swift's loader reads


def test_namespace_package_is_shared_with_nion() -> None:
    assert not (ROOT / "nionswift_plugin" / "__init__.py").exists()
