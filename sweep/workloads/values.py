"""Values of any type, added to a hash in an order that is equal in every process.

Nothing of a process gets into the hash: no addresses, no order of sets. A value that was met before counts by its
number, so cycles end. What cannot be looked into counts by its type, and is named.
"""

import enum
import functools
import hashlib
import types
from typing import Any, Dict, Iterable, List, Mapping, Set, Tuple

import numpy as np

from sweep.workloads import closure, torch_values

SCALARS = (type(None), bool, int, float, complex, str, type(Ellipsis), type(NotImplemented))
BY_NAME = (
    *(types.BuiltinFunctionType, types.MethodDescriptorType, types.WrapperDescriptorType, types.MethodWrapperType),
    *(types.GetSetDescriptorType, types.MemberDescriptorType, types.ClassMethodDescriptorType, np.ufunc),
)
WITHOUT_CONTENT = ("lock", "RLock", "local", "Generator", "RandomState", "Random", "SystemRandom", "Logger")
"""Types that count by name alone: locks and logs, and sources of chance, which the model's nature tells of."""
DEEPEST = 150  # nested values; deeper ones count by type


class Digest:
    """A hash of values, the modules whose code they are of, and the places that it could not see into."""

    def __init__(self) -> None:
        self.modules: Set[str] = set()
        self.opaque: List[str] = []
        self._state = hashlib.sha256()
        self._bodies: Set[type] = set()  # classes whose attributes were added
        self._seen: Dict[int, Tuple[int, Any]] = {}  # id -> number, and the value itself, so that its id stays its own
        self._depth = 0

    def hexdigest(self) -> str:
        return self._state.hexdigest()

    def add(self, value: Any, path: str = "") -> None:
        """Add a value.

        Args:
            path: where it stands, for the list of what is opaque.
        """
        self._depth += 1
        try:
            if type(value) in SCALARS:
                self.put(type(value).__name__, _format_scalar(value))
            elif isinstance(value, (bytes, bytearray, memoryview)):
                self.put("bytes", bytes(value))
            elif type(value) is tuple:  # equal constants may be one value or two, as the compiler likes
                self._add_items(value, path)
            elif id(value) in self._seen:
                self.put("again", str(self._seen[id(value)][0]))
            else:
                self._seen[id(value)] = (len(self._seen), value)
                self._add_new(value, path)
        finally:
            self._depth -= 1

    def put(self, tag: str, content: Any = b"") -> None:
        """Add a text, or bytes, as they are.

        Args:
            tag: one word that says what it is.
        """
        data = content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content
        self._state.update(("%s %d:" % (tag, len(data))).encode())
        self._state.update(data)

    def put_array(self, array: np.ndarray) -> None:
        """Add the type, shape and content of an array of numbers."""
        self.put("array", "%s %s" % (array.dtype.descr if array.dtype.names else array.dtype.str, array.shape))
        flat = np.ascontiguousarray(array).reshape(-1)
        self.put("content", flat.view(np.uint8).data if flat.size and flat.dtype.itemsize else b"")

    def put_name(self, thing: Any) -> None:
        """Add the full name of a class or function, and note its module."""
        module = str(getattr(thing, "__module__", None) or "")
        self.modules.add(module)
        self.put("name", "%s.%s" % (module, getattr(thing, "__qualname__", getattr(thing, "__name__", ""))))

    def add_named(self, values: Mapping[str, Any], path: str) -> None:
        """Add values in the order of their names."""
        self.put("names", str(len(values)))
        for name in sorted(values):
            self.put("key", name)
            self.add(values[name], "%s.%s" % (path, name))

    def add_opaque(self, value: Any, path: str) -> None:
        """Add the type of a value that cannot be looked into, and name its place."""
        kind = "%s.%s" % (type(value).__module__, type(value).__qualname__)
        self.put("opaque", kind)
        if type(value).__name__ not in WITHOUT_CONTENT:
            self.opaque.append("%s (%s)" % (path.lstrip("."), kind))

    def _add_new(self, value: Any, path: str) -> None:
        if self._depth > DEEPEST or type(value).__name__ in WITHOUT_CONTENT:
            self.add_opaque(value, path)
        elif isinstance(value, type):
            self._add_class(value, path)
        elif isinstance(value, types.ModuleType):
            self.modules.add(value.__name__)
            self.put("module", value.__name__)
        elif not (
            torch_values.add(self, value, path)
            or self._add_callable(value, path)
            or self._add_numbers(value, path)
            or self._add_container(value, path)
        ):
            self._add_object(value, path)

    def _add_class(self, kind: type, path: str) -> None:
        """The name of a class, and what those of the user's hold: it may have been changed after its definition."""
        for base in kind.__mro__:
            self.put_name(base)
            if base not in self._bodies and closure.is_users(base.__module__):
                self._bodies.add(base)
                own = {name: value for name, value in vars(base).items() if not name.startswith(("__", "_abc_"))}
                self.add_named(own, "%s.%s" % (path, base.__name__))

    def _add_callable(self, value: Any, path: str) -> bool:
        if isinstance(value, types.FunctionType):
            self._add_function(value, path)
        elif isinstance(value, types.MethodType):
            self.put("method")
            self.add(value.__func__, path)
            self.add(value.__self__, path)
        elif isinstance(value, functools.partial):
            self.put("partial")
            self._add_items((value.func, value.args, value.keywords), path)
        elif isinstance(value, types.CodeType):
            self._add_code(value, path)
        elif isinstance(value, (property, staticmethod, classmethod)):
            self.put(type(value).__name__)
            parts = (value.fget, value.fset) if isinstance(value, property) else (value.__func__,)
            self._add_items(parts, path)
        elif isinstance(value, BY_NAME):
            self.put_name(value)
            owner = getattr(value, "__self__", None)
            if not isinstance(owner, (type, types.ModuleType)):
                self.add(owner, path)
        elif callable(value) and isinstance(getattr(value, "__wrapped__", None), types.FunctionType):
            self.put("wrapped")
            self.add(value.__wrapped__, path)
        else:
            return False
        return True

    def _add_function(self, function: types.FunctionType, path: str) -> None:
        """Its name, defaults and closure; of the user's own also the code, since a file may hold several of a name."""
        self.put_name(function)
        if closure.is_users(function.__module__ or ""):
            self._add_code(function.__code__, path)
        cells = [_read_cell(cell) for cell in function.__closure__ or ()]
        self._add_items((function.__defaults__, function.__kwdefaults__, cells), path + "()")

    def _add_code(self, code: types.CodeType, path: str) -> None:
        self.put("code", code.co_code)
        self._add_items((code.co_names, code.co_consts), path)

    def _add_numbers(self, value: Any, path: str) -> bool:
        if isinstance(value, enum.Enum):
            self.put_name(type(value))
            self.put("member", value.name)
            self.add(value.value, path)
        elif isinstance(value, np.ndarray) and value.dtype.hasobject:
            self.put("objects", str(value.shape))
            self._add_items(value.ravel().tolist(), path)
        elif isinstance(value, np.ndarray):
            self.put_array(np.asarray(value))
            if isinstance(value, np.ma.MaskedArray):
                self.put_array(np.ma.getmaskarray(value))
        elif isinstance(value, np.generic):
            self.put_array(np.asarray(value))
        elif isinstance(value, np.dtype):
            self.put("dtype", repr(value.descr))
        else:
            return False
        return True

    def _add_container(self, value: Any, path: str) -> bool:
        """Lists, dicts, sets and their subclasses, with what these have beside the items."""
        if not isinstance(value, (list, tuple, dict, set, frozenset, types.MappingProxyType)):
            return False
        self.put_name(type(value))
        if isinstance(value, (list, tuple)):
            self._add_items(value, path)
        elif isinstance(value, (set, frozenset)):
            self.put("set", str(len(value)))
            for content in sorted(self._digest_apart(item, path) for item in value):
                self.put("item", content)
        elif all(type(key) is str for key in value):
            self.add_named(value, path)
        else:
            self.put("pairs", str(len(value)))
            keys = ((self._digest_apart(key, path), key) for key in value)
            for content, key in sorted(keys, key=lambda pair: pair[0]):
                self.put("key", content)
                self.add(value[key], "%s[%s]" % (path, key if type(key) in SCALARS else type(key).__name__))
        if getattr(value, "__dict__", None):
            self.add_named(vars(value), path)
        return True

    def _digest_apart(self, value: Any, path: str) -> bytes:
        """The hash of a value by itself, so that values without an order can be sorted."""
        apart = Digest()
        apart._seen, apart._bodies, apart._depth = dict(self._seen), set(self._bodies), self._depth
        apart.modules, apart.opaque = self.modules, self.opaque
        apart.add(value, path)
        return apart._state.digest()

    def _add_items(self, values: Iterable[Any], path: str) -> None:
        items = list(values)
        self.put("items", str(len(items)))
        for number, item in enumerate(items):
            self.add(item, "%s[%d]" % (path, number))

    def _add_object(self, value: Any, path: str) -> None:
        """Any other object: its attributes, or what pickle would write of one that has none or is of Python's own."""
        own = _list_attributes(value)
        self.put("object")
        self.add(type(value), path)
        if own and not closure.is_standard(type(value).__module__):
            self.add_named(own, path)
            return
        try:
            reduced = value.__reduce_ex__(2)
        except Exception:  # whatever an object of somebody else's raises that cannot be pickled
            self.add_opaque(value, path)
            return
        parts = reduced[1:] if isinstance(reduced, tuple) else [reduced]
        self._add_items([list(part) if hasattr(part, "__next__") else part for part in parts], path)


def _format_scalar(value: Any) -> str:
    if type(value) is int:
        return hex(value)
    return closure.remove_folder(value) if type(value) is str else repr(value)


def _read_cell(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # the name has no value yet
        return None


def _list_attributes(value: Any) -> Dict[str, Any]:
    """Attributes of an object by name, those in slots too."""
    own: Dict[str, Any] = {}
    for base in type(value).__mro__:
        slots = vars(base).get("__slots__", ())
        for name in [slots] if isinstance(slots, str) else slots:
            whole = "_%s%s" % (base.__name__.lstrip("_"), name) if name[:2] == "__" != name[-2:] else name
            if whole not in ("__dict__", "__weakref__") and hasattr(value, whole):
                own[whole] = getattr(value, whole)
    return {**own, **getattr(value, "__dict__", {})}
