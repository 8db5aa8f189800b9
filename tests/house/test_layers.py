"""The house rules that a program can check: who may import whom, module sizes, the parent's imports, Python 3.8.

`ALLOWED` is the architecture: what each package may import of ours. `ls sweep/` shows the same names.
"""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.sources import parse, walk

ROOT = Path(__file__).parents[2]
ALLOWED = {
    "files": "",
    "spec": "",
    "text": "spec",
    "isolate": "files spec",
    "workloads": "spec",
    "backends": "files spec isolate workloads",
    "store": "files text spec",
    "hardware": "files spec isolate",
    "worker": "files spec isolate workloads backends",
    "config": "files spec workloads backends hardware worker",
    "verdict": "files text spec workloads backends store hardware worker config",
    "report": "files text spec store worker verdict",
    "engine": "files text spec isolate workloads backends store hardware worker config verdict report",
    "verbs": "files text spec isolate workloads backends store hardware worker config verdict report engine",
    "testing": "files text spec isolate workloads backends store hardware worker",
    "hydra_plugins": "spec config store engine",
    "__init__": "",
    "__main__": "files text spec isolate workloads backends store hardware worker config verdict report engine verbs",
}
PARTS = {name for name in ALLOWED if name != "hydra_plugins" and not name.startswith("__")}
WORKER_SIDE = ("files", "spec", "isolate", "workloads", "backends", "worker")  # Python 3.8, standard library and numpy
FRAMEWORKS = {
    *(
        "torch",
        "torchvision",
        "tensorflow",
        "tf_keras",
        "keras",
        "onnxruntime",
        "onnx",
        "onnxscript",
        "openvino",
        "nncf",
    ),
    *("torch_neuronx", "torch_neuron", "neuronx_distributed", "tensorrt", "transformers", "tokenizers"),
}
FRAMEWORK_PARTS = ("backends", "workloads", "testing")  # import them, inside functions
HEAVY = {"mlflow", "optuna", "matplotlib", "scipy", "pandas"}
LINES = 400


def read_modules(root: Path) -> dict[str, Path]:
    """Dotted name -> file of every module of ours."""
    paths = [*sorted((root / "sweep").rglob("*.py")), *sorted((root / "hydra_plugins").rglob("*.py"))]
    names = {}
    for path in paths:
        parts = path.relative_to(root).with_suffix("").parts
        names[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return names


def read_imports(path: Path) -> list[tuple[str, int]]:
    """(dotted name, line) of everything that a file imports, anywhere in it, also for types alone.

    `from a.b import c` gives a.b.c: whether c is a module, or a name of the module a.b, is the reader's to know.
    """
    imports = []
    for node in walk(path.read_text("utf-8")):
        if isinstance(node, ast.Import):
            imports += [(alias.name, node.lineno) for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            imports += [(f"{node.module}.{alias.name}", node.lineno) for alias in node.names]
    return imports


def read_graph(modules: dict[str, Path]) -> dict[str, dict[str, int]]:
    """Module -> the modules of ours that it imports, with the line of the first import."""
    graph: dict[str, dict[str, int]] = {}
    for name, path in modules.items():
        arrows = graph.setdefault(name, {})
        for target, line in read_imports(path):
            if target not in modules:
                target = target.rpartition(".")[0]
            if target in modules and target != name:
                arrows.setdefault(target, line)
    return graph


def name_part(module: str) -> str:
    """The room that a module lies in: `spec` for sweep.spec.trial, `files` for sweep.files."""
    top, _, rest = module.partition(".")
    return "hydra_plugins" if top == "hydra_plugins" else (rest.partition(".")[0] or "__init__")


def find_forbidden(modules: dict[str, Path]) -> list[str]:
    """Imports that the table does not allow, a line each that names both modules."""
    return [
        f"{name}:{line} imports {target}, but {name_part(name)} may import "
        + (ALLOWED[name_part(name)] or "nothing of ours")
        for name, arrows in read_graph(modules).items()
        for target, line in arrows.items()
        if name_part(target) not in (name_part(name), "__init__", *ALLOWED[name_part(name)].split())
    ]


def find_circles(graph: dict[str, dict[str, int]]) -> list[list[str]]:
    """Groups of modules that import each other (Tarjan 1972, SIAM J. Comput. 1:146-160)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    circles: list[list[str]] = []

    def visit(name: str) -> None:
        index[name] = low[name] = len(index)
        stack.append(name)
        for target in graph[name]:
            if target not in index:
                visit(target)
                low[name] = min(low[name], low[target])
            elif target in stack:
                low[name] = min(low[name], index[target])
        if low[name] == index[name]:
            group = stack[stack.index(name) :]
            del stack[stack.index(name) :]
            if len(group) > 1:
                circles.append(sorted(group))

    for name in graph:
        if name not in index:
            visit(name)
    return circles


def find_frameworks(modules: dict[str, Path]) -> list[str]:
    """Imports of frameworks by what runs in the parent."""
    return [
        f"{name}:{line} imports {target}, a framework: only {' and '.join(FRAMEWORK_PARTS)} may, inside a function"
        for name, path in modules.items()
        if name_part(name) not in FRAMEWORK_PARTS
        for target, line in read_imports(path)
        if target.partition(".")[0] in FRAMEWORKS
    ]


def find_newer_than_python_3_8(root: Path) -> str:
    """What vermin says against the worker side; empty if all of it runs on Python 3.8."""
    paths = [str(path) for name, path in read_modules(root).items() if name_part(name) in WORKER_SIDE]
    command = [sys.executable, "-c", "from vermin import main; main()", "--no-tips", "--eval-annotations"]
    ended = subprocess.run(
        [*command, "--violations", "-t=3.8-", *paths], capture_output=True, text=True, check=False, timeout=120
    )
    unions = [f"{path}:{line}: X | Y in a type" for path in paths for line in find_unions(Path(path))]
    return "\n".join([*([ended.stdout] if ended.returncode else []), *unions])


def find_unions(path: Path) -> list[int]:
    """Lines with `X | Y` in an annotation that Python evaluates, which vermin does not see."""
    lines = []
    for node in walk(path.read_text("utf-8")):
        places = [getattr(node, "annotation", None), getattr(node, "returns", None)]
        for place in filter(None, places):
            lines += [part.lineno for part in ast.walk(place) if isinstance(part, ast.BinOp)]
    return lines


def test_rooms_are_those_of_the_table() -> None:
    loose = {path.name for path in (ROOT / "sweep").iterdir() if path.is_file()}
    assert loose == {"__init__.py", "__main__.py", "files.py", "text.py", "py.typed"}
    rooms = {path.parent.name for path in (ROOT / "sweep").glob("*/__init__.py")}
    assert rooms | {"files", "text"} == PARTS


def test_imports_follow_the_table() -> None:
    assert find_forbidden(read_modules(ROOT)) == []


def test_no_module_imports_in_a_circle() -> None:
    assert find_circles(read_graph(read_modules(ROOT))) == []


def test_parent_imports_no_framework() -> None:
    assert find_frameworks(read_modules(ROOT)) == []


@pytest.mark.parametrize("name", [name for name in read_modules(ROOT) if name_part(name) in FRAMEWORK_PARTS])
def test_frameworks_are_imported_inside_functions(name: str) -> None:
    """To import a backend's module in the parent, for `supports`, imports no framework."""
    tree = parse(read_modules(ROOT)[name].read_text("utf-8"))
    top = [node for node in tree.body if isinstance(node, (ast.Import, ast.ImportFrom))]
    names = [node.module or "" if isinstance(node, ast.ImportFrom) else node.names[0].name for node in top]
    assert {name.partition(".")[0] for name in names} & FRAMEWORKS == set()


def test_modules_stay_small() -> None:
    lines = {name: len(path.read_text("utf-8").splitlines()) for name, path in read_modules(ROOT).items()}
    assert {name: n for name, n in lines.items() if n > LINES} == {}


def test_packages_say_what_they_are_for() -> None:
    """In one or two lines, and what they may import."""
    for part in PARTS:
        init = ROOT / "sweep" / part / "__init__.py"
        if init.exists():
            text = ast.get_docstring(parse(init.read_text("utf-8"))) or ""
            assert re.search(r"[Ii]mports", text), f"sweep/{part}/__init__.py does not say what it may import"


@pytest.mark.process
def test_worker_side_runs_on_python_3_8() -> None:
    assert find_newer_than_python_3_8(ROOT) == ""


def test_worker_side_needs_numpy_alone() -> None:
    """At import: other interpreters have no rich, psutil or omegaconf."""
    allowed = {*sys.stdlib_module_names, "sweep", "numpy"}
    offenders = []
    for name, path in read_modules(ROOT).items():
        if name_part(name) in WORKER_SIDE:
            for node in parse(path.read_text("utf-8")).body:
                if isinstance(node, (ast.Import, ast.ImportFrom)):
                    targets = [node.module or ""] if isinstance(node, ast.ImportFrom) else [a.name for a in node.names]
                    offenders += [
                        f"{name}:{node.lineno} imports {t}" for t in targets if t.partition(".")[0] not in allowed
                    ]
    assert offenders == []


@pytest.mark.process
def test_start_up_loads_nothing_heavy() -> None:
    """Everything up to the plan, in a fresh interpreter: frameworks and trackers load behind it."""
    code = """
import sys
import sweep.__main__, sweep.config.command_line, sweep.engine.session, sweep.engine.plan, sweep.engine.rules
import sweep.hardware.rules, sweep.verbs, sweep.verdict.select
import hydra_plugins.sweep_plugins.grid_sweeper, hydra_plugins.sweep_plugins.local_launcher
print(sorted({name.split(".")[0] for name in sys.modules}))
"""
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT, timeout=120
    )
    loaded = set(ast.literal_eval(ended.stdout))
    assert loaded & (FRAMEWORKS | HEAVY) == set()


HYDRA_INTERNALS = {
    *("_internal.callbacks", "_internal.config_loader_impl", "_internal.config_repository", "_internal.utils"),
    *("core.config_loader", "core.config_search_path", "core.config_store", "core.hydra_config", "core.object_type"),
    *("core.override_parser.overrides_parser", "core.override_parser.types", "core.plugins", "core.utils"),
}


def read_hydra_internals(path: Path) -> set[str]:
    """Modules of Hydra that a file imports beyond its plugin classes, types and errors."""
    nodes = [node for node in walk(path.read_text("utf-8")) if isinstance(node, ast.ImportFrom)]
    names = {str(node.module).removeprefix("hydra.") for node in nodes if str(node.module).startswith("hydra.")}
    return {name for name in names if name.startswith(("_internal", "core"))}


def test_one_module_uses_what_hydra_does_not_document() -> None:
    users = {name: used for name, path in read_modules(ROOT).items() if (used := read_hydra_internals(path))}
    assert users == {"sweep.config.hydra_api": HYDRA_INTERNALS}


# --------------------------------------------------------------------------------- the rules refuse what they should


def copy_with(tmp_path: Path, **additions: str) -> dict[str, Path]:
    """Two rooms of a house in a folder: `sweep.spec.trial` and `sweep.report.names`, with lines added to each."""
    for module, text in {"spec": "", "spec.trial": "", "report": "", "report.names": "", **additions}.items():
        folder = tmp_path / "sweep" / module.replace(".", "/")
        path = folder / "__init__.py" if "." not in module else folder.with_suffix(".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    return read_modules(tmp_path)


def test_rule_of_direction_names_both_modules(tmp_path: Path) -> None:
    modules = copy_with(tmp_path, **{"spec.trial": "def f():\n    from sweep.report.names import g"})
    (line,) = find_forbidden(modules)
    assert line.startswith("sweep.spec.trial:2 imports sweep.report.names, but spec may import nothing of ours")


def test_rule_of_circles_counts_imports_for_types_alone(tmp_path: Path) -> None:
    typed = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from sweep.spec import {}"
    modules = copy_with(tmp_path, **{"spec.trial": typed.format("plan"), "spec.plan": "from sweep.spec import trial"})
    assert find_circles(read_graph(modules)) == [["sweep.spec.plan", "sweep.spec.trial"]]


def test_rule_of_frameworks_names_both_modules(tmp_path: Path) -> None:
    modules = copy_with(tmp_path, **{"report.names": "def f():\n    import torch.nn"})
    (line,) = find_frameworks(modules)
    assert line.startswith("sweep.report.names:2 imports torch.nn")


@pytest.mark.process
@pytest.mark.parametrize("kind", ["list[int]", "int | None"])
def test_rule_of_python_3_8_names_the_module(kind: str, tmp_path: Path) -> None:
    copy_with(tmp_path, **{"spec.trial": f"def f(x: {kind}) -> None: ..."})
    assert "trial.py" in find_newer_than_python_3_8(tmp_path)
