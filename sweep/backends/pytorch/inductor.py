"""TorchInductor ahead of time: the model exported, compiled to machine code, and packed into one `.pt2` file.

The package runs without the model's Python code. It is compiled for the instructions of this processor. The number of
threads stays free, so that one build serves any number of cores.
"""

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, Optional

from sweep.backends import artifact, dynamic
from sweep.backends.base import Arrays, Backend, Source
from sweep.backends.pytorch import common
from sweep.spec import BuildInfo, BuildSpec, FailureKind, Json, Placement, TrialError
from sweep.spec.declared import setting

MODEL = "model.pt2"
STATED = "sweep"  # in the package's own metadata
KNOWS_ALL_INSTRUCTIONS = 12  # the first g++ that knows every instruction set inductor generates


@dataclass(frozen=True)
class InductorOptions(common.TorchOptions):
    freezing: bool = setting(True, "fold weights into the code's own layouts")
    max_autotune: bool = setting(False, "try several kernels per operator: builds take longer")


class Inductor(Backend):
    name = "inductor"
    obeys = common.TorchBackend.obeys
    options_type = InductorOptions
    options: InductorOptions
    packages = ("torch",)
    preload_build = ("torch", "torch._dynamo")
    preload_run = ("torch",)
    precisions = ("fp32", "bf16", "fp16")
    formats = ("module", "exported")
    devices = ("cpu", "cuda")
    dynamic_sizes = True

    @classmethod
    def supports(cls, spec: BuildSpec) -> Optional[str]:
        return super().supports(spec) or common.refuse_precision(spec, cls.name)

    @classmethod
    def missing(cls) -> Optional[str]:
        compiler = _name_compiler()
        if shutil.which(compiler) is None:
            return "inductor needs a C++ compiler and there is no %s: apt-get install g++, or set CXX" % compiler
        return None

    @classmethod
    def versions(cls, precision: str = "") -> Dict[str, str]:
        versions = dict(super().versions(precision))
        compiler = _read_compiler_version()
        return {**versions, "c++": compiler} if compiler else versions

    def probe(self) -> Json:
        return {"versions": self.versions(), "devices": common.list_devices()}

    def build(self, source: Source, spec: BuildSpec, folder: Path) -> BuildInfo:
        reason = self.missing()
        if reason:
            raise TrialError(FailureKind.TOOLCHAIN_MISSING, reason)
        import torch

        channels_last = self.options.wants_channels_last(spec.precision)
        model = common.convert(source.load_model(), spec.precision, spec.device, channels_last)
        precision = common.precision_of(tensor.dtype for tensor in model.parameters()) or spec.precision
        with common.quiet(), torch.no_grad():
            plain = common.cast_inside(model, spec.precision, channels_last)
            program = common.export(plain, source, spec.device)
            self._compile(program, common.format_stated(precision, dynamic.find_shapes(source)), folder)
        notes = {"channels_last": channels_last, "portable": False, "instructions": _pick_instructions()}
        return BuildInfo(precision=precision, versions=self.versions(), notes=notes)

    def _compile(self, program: Any, stated: str, folder: Path) -> None:
        """Compile in a cache of its own, which is then deleted: an earlier build must not make this one quicker."""
        os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "1")  # no pool of processes for one file
        cache, before = folder / "cache", os.environ.get("TORCHINDUCTOR_CACHE_DIR")
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(cache)
        from torch._inductor import aoti_compile_and_package

        try:
            aoti_compile_and_package(program, package_path=str(folder / MODEL), inductor_configs=self._settings(stated))
        finally:
            shutil.rmtree(str(cache), ignore_errors=True)
            if before is None:
                os.environ.pop("TORCHINDUCTOR_CACHE_DIR", None)
            else:
                os.environ["TORCHINDUCTOR_CACHE_DIR"] = before

    def _settings(self, stated: str) -> Dict[str, Any]:
        settings: Dict[str, Any] = {
            "cpp.dynamic_threads": True,
            "freezing": self.options.freezing,
            "max_autotune": self.options.max_autotune,
            "aot_inductor.precompile_headers": False,  # 150 MB a header, to save less than they cost for one build
            "aot_inductor.metadata": {STATED: stated},
        }
        if int(_read_compiler_version().partition(".")[0] or 0) >= KNOWS_ALL_INSTRUCTIONS:
            settings["cpp.vec_isa_ok"] = True  # spares seconds of trial compilations
        return settings

    def load(self, folder: Path, spec: BuildSpec, placement: Placement, source: Source) -> "InductorRunner":
        from torch._inductor import aoti_load_package

        common.use_threads(placement)
        common.use_one_operator()
        number = -1 if spec.device == "cpu" else common.read_device_number(placement.device)
        with common.quiet(), artifact.reading(folder / MODEL) as path:
            package = aoti_load_package(str(path), device_index=number)
        precision, shapes = common.read_stated(package.loader.get_metadata()[STATED])
        runner = InductorRunner(package, placement.device, precision)
        runner.shapes = shapes
        return runner


class InductorRunner(common.TorchRunner):
    """A package takes and returns float32; it allocates its outputs anew in each call."""

    def run(self, request: Arrays) -> Any:
        return self.call(*self.move(request))


def _name_compiler() -> str:
    return os.environ.get("CXX", "g++")


def _read_compiler_version() -> str:
    """The compiler's version; empty without a compiler."""
    try:
        command = [_name_compiler(), "-dumpfullversion"]
        result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    except OSError:
        return ""
    return result.stdout.decode("ascii", "replace").strip() if result.returncode == 0 else ""


def _pick_instructions() -> str:
    """The vector instructions that the code was compiled for, as inductor names them."""
    from torch._inductor.cpu_vec_isa import pick_vec_isa

    return str(pick_vec_isa())
