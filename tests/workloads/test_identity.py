"""Whatever decides a model's answers is part of its identity, and nothing of the process is."""

import collections
import dataclasses
import enum
import functools
import importlib
import os
import subprocess
import sys
import threading
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sweep.spec import UserError
from sweep.workloads import closure, identify
from sweep.workloads.base import OnnxFile
from sweep.workloads.values import Digest


class Mode(enum.Enum):
    FAST = 1
    EXACT = 2


@dataclasses.dataclass
class Settings:
    scale: float = 1.0
    names: tuple[str, ...] = ()


class Slotted:
    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value


def scaled(x: Any, by: float = 1.0) -> Any:
    return x * by


def closing_over(value: Any) -> Callable[[Any], Any]:
    return lambda x: x + value


def hash_value(value: Any) -> str:
    digest = Digest()
    digest.add(value)
    return digest.hexdigest()


def cycle(value: Any) -> list[Any]:
    items = [value]
    items.append(items)
    return items


PAIRS: dict[str, Callable[[int], Any]] = {
    "bool": bool,
    "int": lambda n: n,
    "large int": lambda n: 10**5000 + n,
    "float": lambda n: 0.1 + n * 1e-12,
    "str": lambda n: f"mode {n}",
    "bytes": lambda n: bytes([n]),
    "None or not": lambda n: None if n else 0,
    "number or text": lambda n: "1" if n else 1,
    "list": lambda n: [0, [n]],
    "order of a list": lambda n: [1, 0] if n else [0, 1],
    "list or tuple": lambda n: [1] if n else (1,),
    "nesting": lambda n: [[1], 2] if n else [[1, 2]],
    "dict": lambda n: {"a": {"b": n}},
    "key": lambda n: {f"a{n}": 1},
    "keys of any type": lambda n: {(1, n): 2, None: 3},
    "set": lambda n: {"x", "y", n},
    "set of tuples": lambda n: {("x", n)},
    "ordered": lambda n: collections.OrderedDict(a=n),
    "named tuple": lambda n: collections.namedtuple("Pair", "a b")(1, n),
    "array": lambda n: np.array([0, n]),
    "type of an array": lambda n: np.zeros(2, np.float32 if n else np.float64),
    "shape of an array": lambda n: np.zeros((2, 1) if n else (1, 2)),
    "array of objects": lambda n: np.array([{"a": n}, None], object),
    "numpy's number": lambda n: np.float32(n),
    "dtype": lambda n: np.dtype("f4" if n else "f8"),
    "enum": lambda n: Mode.FAST if n else Mode.EXACT,
    "dataclass": lambda n: Settings(names=(str(n),)),
    "slots": lambda n: Slotted(n),
    "plain object": lambda n: types.SimpleNamespace(a=[n]),
    "class": lambda n: Settings if n else Slotted,
    "function": lambda n: scaled if n else closing_over,
    "closure": closing_over,
    "code": lambda n: (lambda x: x + 1) if n else (lambda x: x - 1),
    "partial": lambda n: functools.partial(scaled, by=n),
    "bound method": lambda n: Slotted([n].append),
    "cycle": cycle,
    "range": range,
    "path": lambda n: Path(f"a{n}"),
}


@pytest.mark.parametrize("make", PAIRS.values(), ids=PAIRS)
def test_every_kind_of_attribute_counts_by_its_content(make: Callable[[int], Any]) -> None:
    assert hash_value(make(0)) == hash_value(make(0))
    assert hash_value(make(0)) != hash_value(make(1))


def test_order_of_sets_and_of_keys_does_not_count() -> None:
    names = [f"name {number}" for number in range(50)]
    backwards = list(reversed(names))
    assert hash_value(set(names)) == hash_value(set(backwards))
    assert hash_value(dict.fromkeys(names)) == hash_value(dict.fromkeys(backwards))


def test_sources_of_chance_count_by_name_and_what_is_hidden_is_listed() -> None:
    digest = Digest()
    digest.add({"rng": np.random.default_rng(), "lock": threading.Lock(), "file": (n for n in ())}, "model")
    assert digest.opaque == ["model.file (builtins.generator)"]


def test_a_set_that_holds_its_owner_ends() -> None:
    owner = types.SimpleNamespace()
    owner.all = {Slotted(owner), Slotted([owner])}
    assert len(hash_value(owner)) == 64


# --- source -----------------------------------------------------------------------------------------------------------

MODEL = """
from shop import parts
from shop.tables import TABLE

class Model:
    def __init__(self, values=()):
        self.values = values

    def __call__(self, x):
        from shop.late import shift
        return shift(parts.scale(x)) + TABLE

def make(values=()):
    return Model(values)
"""
PARTS = """
import json
import numpy
import pytest
from .deep import FACTOR

def scale(x):
    return x * FACTOR
"""
FILES = {
    "shop/__init__.py": "",
    "shop/model.py": MODEL,
    "shop/parts.py": PARTS,
    "shop/deep/__init__.py": "from .number import FACTOR\n",
    "shop/deep/number.py": "FACTOR = 2\n",
    "shop/tables.py": "TABLE = 1\n",
    "shop/late.py": "def shift(x):\n    return x + 1\n",
    "shop/unused.py": "X = 1\n",
}


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for name in [name for name in sys.modules if name.partition(".")[0] == "shop"]:
        del sys.modules[name]


def load() -> Any:
    return importlib.import_module("shop.model").make()


@pytest.mark.parametrize("name", ["model", "parts", "deep/number", "tables", "late"])
def test_every_module_that_the_model_reaches_counts(shop: Path, name: str) -> None:
    before = identify(load(), "shop.model.make")
    path = shop / f"shop/{name}.py"
    path.write_text(path.read_text() + "# changed\n")
    assert identify(load(), "shop.model.make").key != before.key


def test_what_the_model_does_not_reach_does_not_count(shop: Path) -> None:
    before = identify(load(), "shop.model.make").key
    importlib.import_module("shop.unused")
    (shop / "shop/unused.py").write_text("X = 2\n")
    for path in shop.rglob("*.py"):
        os.utime(path, (1, 1))
    assert identify(load(), "shop.model.make").key == before


def test_the_module_of_the_factory_counts(shop: Path) -> None:
    (shop / "factory.py").write_text("from shop.model import Model as make\n")
    model = load()
    assert identify(model, "factory.make").key != identify(model).key


def test_installed_packages_count_by_version_and_pythons_own_not_at_all(shop: Path) -> None:
    load()
    reached = closure.trace(["shop.model"])
    names = ("model", "parts", "deep", "deep.number", "tables", "late")
    assert set(reached.files) == {"shop", *(f"shop.{name}" for name in names)}
    assert reached.distributions == {"pytest": pytest.__version__}


def test_only_a_model_without_code_of_the_users_is_sealed(shop: Path) -> None:
    from sweep.workloads import tiny

    assert not identify(load(), "shop.model.make").sealed
    assert identify(tiny.linear(), "sweep.workloads.tiny.linear").sealed


def test_a_method_that_was_replaced_counts(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = load()
    before = identify(model).key
    monkeypatch.setattr(type(model), "__call__", closing_over(1))
    monkeypatch.setattr(type(model), "forward", closing_over(1), raising=False)
    assert identify(model).key != before


@pytest.mark.process
def test_identity_is_the_same_in_every_process(shop: Path) -> None:
    command = (
        "import torch; from sweep import workloads as w; from shop.model import Model\n"
        "net = torch.nn.Sequential(torch.nn.Linear(2, 2))\n"
        "net.load_state_dict({'0.weight': torch.ones(2, 2), '0.bias': torch.ones(2)})\n"
        "net.names = {'a', 'b', 'c', ('d', 1)}; net.by = {'x', 'y'}.__contains__; net.all = {Model, len, 'z'}\n"
        "print(w.identify(net).key, w.identify(Model({'p', 'q', 'r'})).key)"
    )
    answers = {
        subprocess.run(
            [sys.executable, "-c", command],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": f"{shop}:{Path.cwd()}"},
        ).stdout
        for seed in ("1", "2")
    }
    assert len(answers) == 1


# --- torch ------------------------------------------------------------------------------------------------------------


QUANTISED = pytest.mark.filterwarnings("ignore:.*quantized tensor creation functions")  # models that have them go on


def linear() -> Any:
    import torch

    model = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.ReLU())
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(0.5)
    return model


def quantised_linear(value: float) -> Any:
    """A layer whose weights only an operator can read."""
    import torch

    layer = torch.ao.nn.quantized.dynamic.Linear(2, 3)
    layer.set_weight_bias(torch.quantize_per_tensor(torch.full((3, 2), value), 0.1, 0, torch.qint8), torch.zeros(3))
    return layer


@QUANTISED
@pytest.mark.process
def test_tensors_of_every_layout_count_by_content() -> None:
    import torch

    def pair(make: Callable[[Any], Any]) -> None:
        zeros, ones = torch.zeros(4, 4), torch.eye(4)
        assert hash_value(make(zeros)) == hash_value(make(zeros.clone()))
        assert hash_value(make(zeros)) != hash_value(make(ones))

    pair(lambda t: t)
    pair(lambda t: t.bfloat16())
    pair(lambda t: t.bool())
    pair(lambda t: t.to(torch.complex64))
    pair(lambda t: t.to_sparse())
    pair(lambda t: torch.quantize_per_tensor(t, 0.1, 3, torch.quint8))
    pair(lambda t: torch.quantize_per_channel(t, t[0] + 0.1, torch.zeros(4), 0, torch.qint8))
    scales = [torch.quantize_per_tensor(torch.zeros(2), scale, 0, torch.quint8) for scale in (0.1, 0.2)]
    assert hash_value(scales[0]) != hash_value(scales[1])


@QUANTISED
@pytest.mark.process
@pytest.mark.parametrize("name", ["table", "extra", "hook", "packed"])
def test_what_a_state_dict_leaves_out_counts(name: str) -> None:
    import torch

    def make(value: float) -> Any:
        model = linear()
        if name == "table":
            model.table = [torch.full((2,), value)]
        elif name == "extra":
            model[1].settings = {"slope": value}
        elif name == "hook":
            model.register_forward_hook(closing_over(value))
        else:
            model[0] = quantised_linear(value)
        return model

    assert identify(make(1.0)).key == identify(make(1.0)).key
    assert identify(make(1.0)).key != identify(make(2.0)).key


@QUANTISED
@pytest.mark.process
def test_a_script_counts_with_code_constants_and_packed_weights() -> None:
    import torch

    from sweep.backends.pytorch.common import quiet

    def make(value: float, slope: float) -> Any:
        model = torch.nn.Sequential(quantised_linear(value), torch.nn.LeakyReLU(slope)).eval()
        with quiet():
            return torch.jit.freeze(torch.jit.trace(model, torch.zeros(1, 2)))

    keys = [identify(make(*values)).key for values in ((1.0, 0.1), (1.0, 0.1), (2.0, 0.1), (1.0, 0.2))]
    assert keys[0] == keys[1]
    assert len(set(keys)) == 3


@pytest.mark.process
def test_an_exported_program_counts_with_its_operators_and_hides_nothing() -> None:
    import torch

    from sweep.backends.pytorch.common import quiet

    def make(slope: float) -> Any:
        with quiet():
            model = torch.nn.Sequential(linear(), torch.nn.LeakyReLU(slope)).eval()
            return torch.export.export(model, (torch.zeros(1, 2),)).module()

    first, same, other = (identify(make(slope)) for slope in (0.1, 0.1, 0.2))
    assert first == same
    assert first.key != other.key
    assert first.sealed


# --- files ------------------------------------------------------------------------------------------------------------


def onnx_file(path: Path, where: str) -> Path:
    """A model whose one weight stands in `<path>.data`."""
    from onnx import TensorProto, helper, save

    weight = helper.make_tensor("w", TensorProto.FLOAT, [2], np.ones(2, np.float32).tobytes(), raw=True)
    weight.ClearField("raw_data")
    weight.data_location = TensorProto.EXTERNAL
    weight.external_data.add(key="location", value=path.name + ".data")
    constant = helper.make_node("Constant", [], ["w"], value=weight)
    add = helper.make_node("Add", ["x", "w"], ["y"])
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [2]) for name in "xy"]
    body = helper.make_graph([constant, add], "g", [ends[0]], [ends[1]])
    if where == "initializer":
        body = helper.make_graph([add], "g", [ends[0]], [ends[1]], [weight])
    elif where == "branch":
        inner = helper.make_graph([constant, add], "inner", [], [ends[1]])
        condition = helper.make_node("Constant", [], ["c"], value=helper.make_tensor("c", TensorProto.BOOL, [], [True]))
        chosen = helper.make_node("If", ["c"], ["y"], then_branch=inner, else_branch=inner)
        body = helper.make_graph([condition, chosen], "g", [ends[0]], [ends[1]])
    elif where == "function":
        opset = [helper.make_opsetid("", 17)]
        function = helper.make_function("mine", "F", ["x"], ["y"], [constant, add], opset)
        body = helper.make_graph([helper.make_node("F", ["x"], ["y"], domain="mine")], "g", [ends[0]], [ends[1]])
        model = helper.make_model(body, functions=[function], opset_imports=[*opset, helper.make_opsetid("mine", 1)])
        save(model, str(path))
        return path
    save(helper.make_model(body), str(path))
    return path


@pytest.mark.parametrize("where", ["initializer", "constant", "branch", "function"])
def test_weights_beside_an_onnx_file_count_wherever_they_belong(tmp_path: Path, where: str) -> None:
    path = onnx_file(tmp_path / "m.onnx", where)
    with pytest.raises(UserError, match=r"m\.onnx has weights in .*m\.onnx\.data, and there is no such file"):
        identify(OnnxFile(str(path)))
    keys = []
    for value in (1.0, 1.0, 2.0):
        (tmp_path / "m.onnx.data").write_bytes(np.full(2, value, np.float32).tobytes())
        keys.append(identify(OnnxFile(str(path))).key)
    assert keys[0] == keys[1] != keys[2]
