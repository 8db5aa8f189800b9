"""Digests of the modules that decide a trial's numbers, without docstrings, comments and layout.

    python -m tests.house.measuring_code

writes those of today beside the version of the measuring code, into `measuring_code.json`.
"""

import ast
import hashlib
import json
from pathlib import Path
from typing import Any

from sweep.engine.judging import CODE

ROOT = Path(__file__).resolve().parents[2]
STORED = Path(__file__).with_suffix(".json")
COMMAND = "python -m tests.house.measuring_code"
# What loads, sends, times and watches requests; what runs in the timed call; what repeats and answers amount to
DECIDING = (
    *("sweep/worker/*.py", "sweep/worker/load/*.py", "sweep/backends/**/*.py", "sweep/engine/placement.py"),
    *("sweep/isolate/denormals.py", "sweep/isolate/procfs.py", "sweep/isolate/server.py", "sweep/spec/process.py"),
    *("sweep/verdict/repeats.py", "sweep/verdict/stats/*.py"),
)
OTHERS = ("sweep/backends/fake.py", "sweep/backends/compiler_output.py", "sweep/backends/neuron/output.py")
OTHER_FOLDERS = ("sweep/backends/replay",)
NAMELESS = ("kind", "type_comment")  # fields of the syntax tree that say nothing of what code does


def list_digests() -> dict[str, str]:
    """Digest of every deciding module that has code, by its path."""
    paths = sorted({path for pattern in DECIDING for path in ROOT.glob(pattern)})
    names = {path.relative_to(ROOT).as_posix(): path for path in paths}
    return {
        name: compute_digest(path.read_text(encoding="utf-8"))
        for name, path in names.items()
        if name not in OTHERS and not name.startswith(OTHER_FOLDERS) and path.name != "__init__.py"
    }


def compute_digest(source: str) -> str:
    """Equal for sources that do the same, in every version of Python: only what is there of the syntax tree counts."""
    return hashlib.sha256(json.dumps(_strip(ast.parse(source))).encode()).hexdigest()[:16]


def _strip(node: Any) -> Any:
    if isinstance(node, list):
        return [_strip(item) for item in node]
    if not isinstance(node, ast.AST):
        return repr(node)
    parts = {name: value for name, value in ast.iter_fields(node) if value not in (None, []) and name not in NAMELESS}
    if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)) and _has_docstring(node):
        parts["body"] = node.body[1:]
    return [type(node).__name__, {name: _strip(value) for name, value in parts.items()}]


def _has_docstring(node: ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    first = node.body[0] if node.body else None
    return isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str)


def read_stored() -> tuple[int, dict[str, str]]:
    """The version and the digests that were written last."""
    stored = json.loads(STORED.read_text(encoding="utf-8"))
    return int(stored["code"]), dict(stored["modules"])


if __name__ == "__main__":
    STORED.write_text(json.dumps({"code": CODE, "modules": list_digests()}, indent=1) + "\n", encoding="utf-8")
