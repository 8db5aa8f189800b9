"""The house rules that a program can check: layers, module sizes, the parent's imports, what workers may rely on."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FRAMEWORKS = {"torch", "tensorflow", "onnxruntime", "onnx", "openvino", "nncf", "torch_neuronx", "torch_neuron"}
HEAVY = {"mlflow", "optuna", "matplotlib", "scipy", "pandas"}
WORKER_SIDE = (
    "spec",
    "hints",
    "reported",
    "forkserver",
    "keeper",
    "processes",
    "failures",
    "failure_table",
    "measure",
    "load",
    "one_repeat",
    "by_bucket",
    "sources",
    "materials",
    "batching",
    "padding",
    "replicas",
    "worker",
    "replaying",
    "backends",
    "workloads",
)
# What a module may import of ours; the others may import anything but what would make a circle.
LAYERS = {
    "spec": set[str](),
    "settings": {"spec"},
    "hints": {"spec"},
    "reported": {"spec", "hints"},
    "failure_table": {"spec"},
    "failures": {"spec", "failure_table"},
    "processes": {"spec"},
    "keeper": {"spec", "processes"},
    "forkserver": {"spec", "failures", "keeper", "processes"},
    "batching": {"spec"},
    "padding": {"spec", "batching", "materials", "measure", "workloads"},
    "by_bucket": {"spec", "measure", "failures", "backends"},
    "buckets": {"spec", "settings", "statistics", "report", "batching", "by_bucket", "backends"},
    "load": {"spec", "hints", "measure", "backends"},
    "one_repeat": {"spec", "measure", "by_bucket", "sources", "load", "replicas"},
    "sources": {"spec", "measure", "by_bucket", "batching", "materials", "backends", "workloads", "load"},
    "replicas": {"spec", "measure", "forkserver", "load"},
    "deployments": {"spec"},
    "backends": {"spec", "workloads", "failures", "reported", "processes"},
    "replaying": {"spec", "reported", "measure", "failures", "backends"},
    "workloads": {"spec", "hints"},
    "store": {"spec", "files"},
    "forkclient": {"spec", "failures"},
    "isolate": {"spec", "failures", "forkclient", "files"},
    "student": set[str](),
    "statistics": {"spec", "student"},
    "ledger": {"spec", "files"},
    "accuracy": {"spec", "statistics"},
    "gates": {"spec", "settings", "statistics"},
    "verdict": {"spec", "settings", "statistics", "report", "buckets"},
    "noise": {"spec", "statistics", "student", "report", "ec2", "processes"},
    "costs": {"spec", "hints", "files", "schema", "hardware", "deployments"},
    "ec2": set[str](),
    "neuron_host": {"ec2", "processes", "failures"},
    "host": {"ec2", "neuron_host"},
    "hardware": {"host", "spec", "deployments"},
}


def modules() -> list[Path]:
    return sorted((ROOT / "sweep").rglob("*.py"))


def unit(path: Path) -> str:
    """The part of the program that a file belongs to: a module or a package right below `sweep`."""
    return path.relative_to(ROOT / "sweep").parts[0].removesuffix(".py")


def imported(path: Path) -> set[str]:
    """Dotted names of everything that a file imports, anywhere in it, but not for types alone."""
    found: set[str] = set()
    tree = ast.parse(path.read_text())
    typing_only = {
        id(node)
        for test in ast.walk(tree)
        if isinstance(test, ast.If) and "TYPE_CHECKING" in ast.unparse(test.test)
        for node in ast.walk(test)
    }
    for node in ast.walk(tree):
        if id(node) in typing_only:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def own_units(path: Path) -> set[str]:
    """Our parts that a file imports."""
    names = {name.split(".")[1] for name in imported(path) if name.startswith("sweep.")}
    existing = {unit(module) for module in modules()}
    return (names & existing) - {unit(path)}


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT / "sweep")))
def test_layers_hold_and_modules_stay_small(path: Path) -> None:
    allowed = LAYERS.get(unit(path))
    assert allowed is None or own_units(path) <= allowed
    assert len(path.read_text().splitlines()) <= 400


def test_frameworks_are_imported_on_the_worker_side_alone() -> None:
    offenders = {
        str(path.relative_to(ROOT)): sorted(tops)
        for path in modules()
        if unit(path) not in ("backends", "workloads")
        and (tops := {name.split(".")[0] for name in imported(path)} & FRAMEWORKS)
    }
    assert offenders == {}


def test_start_up_loads_nothing_heavy() -> None:
    """Everything up to the plan, in a fresh interpreter: frameworks and trackers load behind it."""
    code = """
import sys
import sweep.__main__, sweep.config, sweep.engine.session, sweep.verbs, sweep.plan, sweep.hardware, sweep.verdict.select
import hydra_plugins.sweep_plugins.grid_sweeper, hydra_plugins.sweep_plugins.local_launcher
print(sorted({name.split(".")[0] for name in sys.modules}))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    loaded = set(ast.literal_eval(done.stdout))
    assert loaded & (FRAMEWORKS | HEAVY) == set()


def test_workers_run_on_python_3_8() -> None:
    """Other interpreters (Inf1's last wheels need 3.8 to 3.10) see this code: standard library and numpy of 3.8."""
    paths = [str(path) for path in modules() if unit(path) in WORKER_SIDE]
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "from vermin import main; main()",
            "--no-tips",
            "--eval-annotations",
            "--violations",
            "-t=3.8-",
            *paths,
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert len(paths) > 10


def test_worker_side_imports_only_the_worker_side() -> None:
    offenders = {
        str(path.relative_to(ROOT)): sorted(rest)
        for path in modules()
        if unit(path) in WORKER_SIDE and (rest := own_units(path) - set(WORKER_SIDE))
    }
    assert offenders == {}
