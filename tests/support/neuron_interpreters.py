"""The interpreters in which tests run what is written for the doubles of the Neuron packages."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.forks import Forks, Ran
from tests.support.neuron_machine import NeuronHost

PRELUDE = """
import io, json, os, threading, warnings
import torch
warnings.filterwarnings("ignore", ".*torch.jit.*")
warnings.filterwarnings("ignore", "only")
def tell(value):
    print(json.dumps(value, default=str), flush=True)
def refused(call):
    try:
        call()
    except Exception as error:
        tell([type(error).__name__, str(error)])
    else:
        tell(None)
torch.manual_seed(0)
net = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.ReLU(), torch.nn.Linear(16, 4)).eval()
x = torch.randn(2, 8)
"""
NX = (
    PRELUDE
    + """
import torch_neuronx as neuron
ARGS = ["--target", "inf2", "--auto-cast", "none"]
def made(model=net, example=x, args=ARGS, **more):
    return neuron.trace(model, example, compiler_args=args, **more)
"""
)
N1 = (
    PRELUDE
    + """
import torch_neuron as neuron
def made(model=net, example=x, **more):
    return neuron.trace(model, example, **more)
"""
)
TWO = "class Two(torch.nn.Module):\n    def forward(self, a, b):\n        return a + b\n"
WHEELS = {"torch_neuronx": (NX, "inf2.xlarge"), "torch_neuron": (N1, "inf1.xlarge")}


class Lab:
    """The interpreters of both wheels, each started once."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._forks = folder, {}

    def forks(self, wheel: str) -> Forks:
        if wheel not in self._forks:
            host = NeuronHost(self._folder / wheel, (wheel,))
            modules = ("torch", wheel)
            env = {**os.environ, **host.env, "OMP_NUM_THREADS": "1"}
            self._forks[wheel] = Forks(host.python, self._folder / f"{wheel}.runs", env, modules, host.site)
        return self._forks[wheel]

    def run(self, host: NeuronHost | None, code: str, wheel: str = "torch_neuronx", **env: str) -> Ran:
        """Run the snippet on that machine; None: on a computer without Neuron devices."""
        given = {**os.environ, **(host.env if host else {}), **env}
        return self.forks(wheel).run(WHEELS[wheel][0] + code, given, host.site if host else None)

    def close(self) -> None:
        for forks in self._forks.values():
            forks.close()


def inf1(tmp_path: Path, **more: Any) -> NeuronHost:
    return NeuronHost(tmp_path / "inf1", ("torch_neuron",), "inf1.xlarge", **more)


def fixtures() -> tuple[Any, Any]:
    """Fixtures of a test module: `lab`, started once, and `host`, another machine for each test."""

    @pytest.fixture(scope="module")
    def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
        made = Lab(tmp_path_factory.mktemp("lab"))
        yield made
        made.close()

    @pytest.fixture
    def host(tmp_path: Path) -> NeuronHost:
        return NeuronHost(tmp_path / "host")

    return lab, host
