"""Build and measure on a pretended Neuron machine through real workers, without the rest of a sweep."""

import functools
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sweep import backends
from sweep.isolate.pool import Limits, Request, Workers
from sweep.spec import BuildInfo, BuildSpec, Failure, Outcome, Placement, from_json
from sweep.spec.requests import Artifact, BuildRequest, MeasureRequest
from sweep.worker import data_sets
from sweep.workloads import Dataset
from tests.support.neuron_machine import NeuronHost
from tests.support.records import make_effort

MACHINES = {"torch_neuronx": "inf2.xlarge", "torch_neuron": "inf1.xlarge"}
# Importable in the pretended machine's interpreter alone.
MODELS = """
import torch

def net():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(8, 64), torch.nn.ReLU(), torch.nn.Linear(64, 4))

class Narrow(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = net().bfloat16()
    def forward(self, x):
        return self.inner(x.bfloat16())

def narrow():
    return Narrow()

class Token(torch.nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.token = torch.nn.Parameter(torch.randn(1, 1, 8))
        self.dense = torch.nn.Linear(8, 4)
    def forward(self, x):
        rows = torch.cat([self.token.expand(x.shape[0], -1, -1), x[:, None]], 1)
        return {"scores": self.dense(rows.mean(1)), "rows": rows}

def vit():
    return Token()

class Sorts(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = net()
    def forward(self, x):
        return torch.sort(self.inner(x), -1)[0]

def sorts():
    return Sorts()
"""


@dataclass(frozen=True)
class Built:
    """One build: how it ended and what it left."""

    spec: BuildSpec
    outcome: Outcome
    folder: Path

    @property
    def info(self) -> BuildInfo:
        assert self.outcome.failure is None, self.outcome.failure
        return from_json(BuildInfo, self.outcome.result)

    @property
    def failure(self) -> Failure:
        assert self.outcome.failure is not None, self.outcome.result
        return self.outcome.failure


class Bench:
    """A machine, its workers, and 12 samples of 8 numbers."""

    def __init__(self, folder: Path, wheel: str, instance_type: str, **host: Any) -> None:
        self.folder = folder
        self.backend = {"torch_neuronx": "neuronx", "torch_neuron": "neuron"}[wheel]
        self.host = NeuronHost(folder / "host", (wheel,), instance_type, **host)
        self.workers = Workers()
        self._numbers = itertools.count()
        (self.host.site / "sweep_test_models.py").write_text(MODELS)
        x = np.random.RandomState(0).randn(12, 8).astype(np.float32)
        data_sets.write_data([Dataset({"x": x}, None, {}, "regression", None)], folder / "data")

    def spec(self, model: str = "net", precision: str = "bf16", batch: int = 2, **options: Any) -> BuildSpec:
        cores = options.pop("cores", 1) if backends.get(self.backend).compiles_cores else None
        target = {} if self.backend == "neuron" else {"target": "inf2"}
        described: dict[str, Any] = {"name": model, "_target_": f"sweep_test_models.{model}", "format": "module"}
        if model == "narrow":  # which casts its inputs itself
            described["widen"] = False
        shared: Any = {"device": "neuron", "cores": cores, "python": self.host.python}
        return BuildSpec(described, {"name": "x"}, self.backend, {**target, **options}, precision, batch, **shared)

    def build(
        self, spec: BuildSpec | None = None, seconds: float = 60.0, env: dict[str, str] | None = None, **changes: Any
    ) -> Built:
        spec = spec or self.spec(**changes)
        artifact = self._folder("artifact")
        artifact.mkdir()
        request = BuildRequest(spec, self._data, str(artifact))
        return Built(spec, self._run(request, seconds, env), artifact)

    def measure(
        self,
        built: Built,
        *cores: tuple[int, ...],
        request_batch: int | None = None,
        seconds: float = 60.0,
        env: dict[str, str] | None = None,
        **options: Any,
    ) -> Outcome:
        """One repeat: a replica for each tuple of cores, (0,) if none is given."""
        request = MeasureRequest(
            builds=(Artifact(built.spec, str(built.folder)),),
            data_folder=self._data,
            batch=request_batch or built.spec.batch,
            placements=tuple(Placement("neuron", numbers) for numbers in cores or ((0,),)),
            effort=make_effort(0.02, 3),
            repeat=0,
            share=0.0,
            options=options,
        )
        return self._run(request, seconds, env)

    def answers(self, *outcomes: Outcome) -> list[Any]:
        """What repeats answered to the samples that are in all of them: on a busy host a window may miss the last."""
        found = [np.load(Path(outcome.log).parent / "outputs.npz") for outcome in outcomes]
        both = functools.reduce(np.intersect1d, [one["index"] for one in found])
        return [one["output_0"][np.isin(one["index"], both)] for one in found]

    def close(self) -> None:
        self.workers.close()

    @property
    def _data(self) -> str:
        return str(self.folder / "data")

    def _folder(self, name: str) -> Path:
        return self.folder / f"{next(self._numbers)}-{name}"

    def _run(self, request: Request, seconds: float, env: dict[str, str] | None) -> Outcome:
        return self.workers.run(
            request,
            self._folder("task"),
            limits=Limits(seconds, 8000.0),
            python=self.host.python,
            preload=("torch", "sweep.worker.entries"),
            env={**self.host.env, **(env or {})},
        )


def fixtures(wheel: str) -> tuple[Any, Any]:
    """Fixtures of a test module: `bench`, a machine with this wheel, and `built`, a build of its plain network."""

    @pytest.fixture(scope="module")
    def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
        made = Bench(tmp_path_factory.mktemp(wheel), wheel, MACHINES[wheel])
        yield made
        made.close()

    @pytest.fixture(scope="module")
    def built(bench: Bench) -> Built:
        made = bench.build()
        assert made.outcome.failure is None
        return made

    return bench, built
