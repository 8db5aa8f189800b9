"""Lint, format and types: part of the tests, so that there is one command."""

import ast
import importlib
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from importlib.util import find_spec

import pytest

from tests.support.running import ROOT
from tests.support.sources import walk

PROSE = ("reason", "summary", "sentence", "detail", "problem", "message")  # fields that are meant for people
READING = ("startswith", "endswith", "removeprefix", "removesuffix", "partition", "rpartition", "find", "index")
MATCHING = ("match", "search", "fullmatch", "findall", "finditer")


@pytest.mark.process
@pytest.mark.parametrize(
    "command",
    [("ruff", "check", "."), ("ruff", "format", "--check", "."), ("mypy",)],
    ids=["lint", "format", "types"],
)
def test_style(command: tuple[str, ...]) -> None:
    done = subprocess.run([sys.executable, "-m", *command], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr


def is_prose(node: ast.expr) -> bool:
    """`record.reason`, `row["reason"]`, `row.get("reason")`, and these after `lower()` or the like."""
    if isinstance(node, ast.Attribute):
        return node.attr in PROSE
    if isinstance(node, ast.Subscript):
        return isinstance(node.slice, ast.Constant) and node.slice.value in PROSE
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        asked = node.args[0] if node.args else None
        return (isinstance(asked, ast.Constant) and asked.value in PROSE) or is_prose(node.func.value)
    return False


def reads_prose(node: ast.AST) -> bool:
    """Whether it looks into a text that is meant for people: its beginning, its parts, or whether it equals another."""
    if isinstance(node, ast.Compare):
        if all(isinstance(operator, (ast.Is, ast.IsNot)) for operator in node.ops):
            return False
        return any(is_prose(side) for side in (node.left, *node.comparators))
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        if node.func.attr in READING:
            return is_prose(node.func.value)
        return node.func.attr in MATCHING and any(is_prose(argument) for argument in node.args)
    return False


def prose_readers(source: str, name: str) -> Iterator[str]:
    lines = source.splitlines()
    for node in walk(source):
        if reads_prose(node):
            line = getattr(node, "lineno", 0)
            yield f"{name}:{line} decides by a text that is meant for people: {lines[line - 1].strip()}"


def test_no_control_flow_on_text_meant_for_people() -> None:
    paths = sorted((ROOT / "sweep").rglob("*.py"))
    readers = [line for path in paths for line in prose_readers(path.read_text(), str(path.relative_to(ROOT)))]
    assert not readers, "\n".join(["carry a value beside the text, as Record.stop is beside Record.reason:", *readers])


@pytest.mark.parametrize(
    "source",
    [
        'record.reason.startswith("interrupted")',
        "record.reason == BUILT",
        '"disk full" in failure.summary.lower()',
        'row["reason"].removeprefix("repeat 0: ")',
        'row.get("summary") != "gone"',
        're.match("built", record.reason)',
    ],
)
def test_control_flow_on_text_is_seen(source: str) -> None:
    assert len(list(prose_readers(f"if {source}:\n    pass\n", "x.py"))) == 1


@pytest.mark.parametrize("source", ["record.reason", "record.stop is StopReason.BUILT", "line.startswith('#')"])
def test_other_conditions_are_fine(source: str) -> None:
    assert not list(prose_readers(f"if {source}:\n    pass\n", "x.py"))


# Names that say how a thing came to be there, not what it is.
VAGUE = ("told", "said", "found", "made", "asked", "each", "one")


def vague_parameters(source: str, name: str) -> Iterator[str]:
    for node in walk(source):
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            continue
        parameters = node.args
        every = [*parameters.posonlyargs, *parameters.args, *parameters.kwonlyargs, parameters.vararg, parameters.kwarg]
        for parameter in every:
            if parameter is not None and parameter.arg in VAGUE:
                yield f"{name}:{parameter.lineno} {getattr(node, 'name', 'lambda')} has a parameter `{parameter.arg}`"


def test_parameters_say_what_they_are() -> None:
    paths = sorted(path for folder in ("sweep", "hydra_plugins") for path in (ROOT / folder).rglob("*.py"))
    vague = [line for path in paths for line in vague_parameters(path.read_text(), str(path.relative_to(ROOT)))]
    assert not vague, "\n".join(["name what it is: records, verdict, request (CONTRIBUTING.md):", *vague])


@pytest.mark.parametrize(
    ("source", "line", "function"),
    [
        ("\ndef choose(found): ...", 2, "choose"),
        ("def choose(a, *, each=1): ...", 1, "choose"),
        ("async def choose(*made): ...", 1, "choose"),
        ("def choose(one, /): ...", 1, "choose"),
        ("class A:\n    def choose(self, **told): ...", 2, "choose"),
        ("key = lambda one: one.key", 1, "lambda"),
    ],
)
def test_vague_parameters_are_seen(source: str, line: int, function: str) -> None:
    (message,) = vague_parameters(source, "x.py")
    assert message.startswith(f"x.py:{line} {function} ")


def test_other_parameters_are_fine() -> None:
    source = "def choose(records, wanted):\n    found = [each for each in records]\n    return found"
    assert not list(vague_parameters(source, "x.py"))


def list_missing_imports(code: str) -> Iterator[str]:
    """Names that a piece of code takes of our modules and that do not exist; nothing for text that is no code."""
    try:
        nodes = list(ast.walk(ast.parse(code)))
    except (SyntaxError, ValueError):
        return
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "sweep":
            module = importlib.import_module(str(node.module))
            for alias in node.names:
                inside = hasattr(module, "__path__") and find_spec(f"{node.module}.{alias.name}")
                if not hasattr(module, alias.name) and not inside:
                    yield f"{node.module}.{alias.name}"


def test_code_in_strings_imports_what_exists() -> None:
    """Benchmarks and tests hand code to other interpreters, and a renaming does not reach it."""
    missing = [
        (path.relative_to(ROOT).as_posix(), name)
        for path in sorted((ROOT / "tests").rglob("*.py"))
        if path.parent.name != "house"  # its rules are tried on code that breaks them
        for node in walk(path.read_text(encoding="utf-8"))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and "from sweep" in node.value
        for name in list_missing_imports(textwrap.dedent(node.value))
    ]
    assert missing == []


def test_missing_import_in_a_string_is_seen() -> None:
    assert list(list_missing_imports("from sweep.spec import Record, Recrod\n")) == ["sweep.spec.Recrod"]
