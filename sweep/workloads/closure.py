"""The source files that a model's code is made of, and the versions of the installed packages that it uses.

Modules are told apart by where their files lie: those of the user's own count by content, installed ones by the version
of their distribution, the standard library not at all. Nothing is imported that was not imported before.
"""

import ast
import functools
import hashlib
import re
import sys
import sysconfig
import types
from importlib import metadata
from pathlib import Path
from typing import Any, Dict, Iterable, Iterator, List, NamedTuple, Optional, Sequence, Set

OWN = "sweep"  # modules of this project; of its workloads the file itself counts, whatever that imports
COUNTED_APART = ("torch", "numpy", "onnxruntime", "tensorflow", "keras")  # their versions belong to the reference
INSTALLED = ("site-packages", "dist-packages")


class Closure(NamedTuple):
    """What a set of modules reaches."""

    files: Dict[str, str]  # module of the user's -> SHA-256 of its file
    own: Dict[str, str]  # likewise of `sweep.workloads`
    distributions: Dict[str, str]  # name -> version
    unseen: List[str]  # modules of the user's without a file that can be read


class _Place(NamedTuple):
    """Where a module lies."""

    file: Optional[str]  # None: built in, or a namespace package
    path: Optional[Sequence[str]]  # folders of a package's modules


def trace(modules: Iterable[str]) -> Closure:
    """Follow imports, at the top of modules and inside functions, from these modules on."""
    closure = Closure({}, {}, {}, [])
    todo: List[str] = list(modules)
    seen: Set[str] = set()
    while todo:
        name = todo.pop()
        if name in seen:
            continue
        seen.add(name)
        todo += _follow(name, closure)
    return closure


def is_users(module: str) -> bool:
    """Whether a module is neither installed nor of the standard library nor of this project."""
    return _kind(module) == "user"


def is_standard(module: str) -> bool:
    """Whether a module is of the standard library."""
    return not _kind(module) and module.partition(".")[0] not in (OWN, *COUNTED_APART)


def remove_folder(text: str) -> str:
    """A text without the folder of installed packages that it begins with, which says nothing of a model."""
    for folder in sys.path:
        if text.startswith(folder) and Path(folder).name in INSTALLED:
            return text[len(folder) :]
    return text


def _follow(name: str, closure: Closure) -> List[str]:
    """Add one module to the closure; the names of those that it imports, as far as they count."""
    kind = _kind(name)
    if kind == "installed":
        closure.distributions.update(_find_distributions(name.partition(".")[0]))
    if kind not in ("user", OWN):
        return []
    place = _find(name)
    if place is None or place.file is None:
        if name in sys.modules and place is not None and place.path is None:
            closure.unseen.append(name)
        return []
    content = _read(place.file)
    if content is None:
        closure.unseen.append(name)
        return []
    (closure.own if kind == OWN else closure.files)[name] = hashlib.sha256(content).hexdigest()
    if kind == OWN:
        return []
    parents = [name.rsplit(".", depth)[0] for depth in range(1, name.count(".") + 1)]
    imports = _list_imports(content, name, place.path is not None) if place.file.endswith(".py") else []
    return [*parents, *imports, *_list_globals(sys.modules.get(name))]


def _kind(name: str) -> str:
    """`user`, `installed`, `sweep` for its workloads, or `` for what does not count."""
    top = name.partition(".")[0]
    if top == OWN:
        return OWN if name.startswith(OWN + ".workloads.") else ""
    if top in COUNTED_APART or top in sys.builtin_module_names:
        return ""
    place = _find(top)
    if place is None:
        return ""
    where = place.file or next(iter(place.path or ()), None)
    if where is None or where in ("built-in", "frozen"):
        return ""
    whole = Path(where).resolve()
    if set(INSTALLED) & {*whole.parts, *Path(where).parts}:
        return "installed" if _find_distributions(top) else "user"
    return "" if any(folder in whole.parents for folder in _standard_folders()) else "user"


@functools.lru_cache(maxsize=None)
def _standard_folders() -> List[Path]:
    paths = sysconfig.get_paths()
    return [Path(paths[name]).resolve() for name in ("stdlib", "platstdlib")]


@functools.lru_cache(maxsize=None)
def _find_distributions(top: str) -> Dict[str, str]:
    """Name and version of the distributions behind a module at the top; most have its name."""
    try:
        return {top: metadata.version(top)}
    except metadata.PackageNotFoundError:
        return _list_distributions().get(top, {})


@functools.lru_cache(maxsize=None)
def _list_distributions() -> Dict[str, Dict[str, str]]:
    """Name and version of the distributions behind each module at the top."""
    known: Dict[str, Dict[str, str]] = {}
    for distribution in metadata.distributions():
        stated = distribution.read_text("top_level.txt")
        files = (distribution.read_text("RECORD") or "").splitlines()
        tops = stated.split() if stated else {re.split("[/.,]", line, maxsplit=1)[0] for line in files}
        for top in tops:
            known.setdefault(top, {})[str(distribution.metadata["Name"])] = str(distribution.version)
    return known


def _find(name: str) -> Optional[_Place]:
    """Where a module lies, imported or not; None if there is none."""
    module = sys.modules.get(name)
    if module is not None:
        return _Place(getattr(module, "__file__", None), _paths(getattr(module, "__path__", None)))
    parent, path = name.rpartition(".")[0], None
    if parent:
        above = _find(parent)
        if above is None or above.path is None:
            return None
        path = above.path
    for finder in sys.meta_path:
        try:
            spec = finder.find_spec(name, path)
        except Exception:  # a finder of somebody else's, asked for a name that may not exist
            continue
        if spec is not None:
            file = spec.origin if spec.has_location else None
            return _Place(file, _paths(spec.submodule_search_locations))
    return None


def _paths(given: Any) -> Optional[Sequence[str]]:
    return None if given is None else [str(path) for path in given]


def _read(file: str) -> Optional[bytes]:
    try:
        content = Path(file).read_bytes()
    except OSError:
        return None
    return content[16:] if file.endswith(".pyc") else content  # behind the time at which it was compiled


def _list_imports(source: bytes, name: str, is_package: bool) -> List[str]:
    """Every name that may be a module in the imports of a file, also inside functions."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return []
    package = name if is_package else name.rpartition(".")[0]
    return [target for node in ast.walk(tree) for target in _list_targets(node, package)]


def _list_targets(node: ast.AST, package: str) -> Iterator[str]:
    if isinstance(node, ast.Import):
        for alias in node.names:
            yield alias.name
    elif isinstance(node, ast.ImportFrom):
        above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
        base = ".".join([*above, *([node.module] if node.module else [])])
        yield base
        for alias in node.names:
            yield "%s.%s" % (base, alias.name)
    elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
        called = getattr(node.func, "attr", getattr(node.func, "id", ""))
        if called in ("import_module", "__import__") and isinstance(node.args[0].value, str):
            yield node.args[0].value


def _list_globals(module: Any) -> List[str]:
    """Modules that a module's names lead to; any import gives a package the names of its modules."""
    names: List[str] = []
    for name, value in list(vars(module).items()) if module is not None else ():
        if isinstance(value, types.ModuleType):
            names += [value.__name__] if value.__name__ != "%s.%s" % (module.__name__, name) else []
        elif isinstance(value, (type, types.FunctionType)):
            names.append(str(value.__module__))
    return names
