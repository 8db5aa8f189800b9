"""ONNX Runtime on the CPU: exported, quantised with precision=int8, optimised ahead of time.

int8 is dynamic quantisation: weights are stored as int8, activations are scaled as they come, no samples are needed.
It covers matrix products; `int8_convolutions=true` adds convolutions, which this runtime makes slower on most CPUs.
The notes of a build say how many operators and which share of the weights were really quantised. On a processor whose
int8 products saturate, signed weights are stored in 7 bits (`reduce_range` in the notes): answers stay right, a little
less exact.

A file optimised at the level `all` is laid out for the processor that optimised it; `extended` is portable.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, Mapping, Optional

import numpy as np

from sweep.backends import artifact, cpu, dynamic, onnx_export
from sweep.backends.base import Arrays, Backend, Runner, Source
from sweep.backends.options import Options
from sweep.isolate import denormals
from sweep.spec import BuildInfo, BuildSpec, FailureKind, Json, Placement, Trial, TrialError
from sweep.spec.declared import setting

MODEL = "model.onnx"
LEFTOVERS = ("exported.onnx*", "folded.onnx*", "quantised.onnx*")
LEVELS = {
    "all": "ORT_ENABLE_ALL",
    "extended": "ORT_ENABLE_EXTENDED",
    "basic": "ORT_ENABLE_BASIC",
    "none": "ORT_DISABLE_ALL",
}
WEIGHTED = ("MatMul", "Gemm", "Conv")  # their second input is a weight
PRECISION_KEY = "sweep.precision"  # in the metadata of the file itself: it cannot be parted from it


@dataclass(frozen=True)
class OnnxRuntimeOptions(Options):
    optimization: str = setting(
        "all", "all: laid out for the processor that builds; extended: portable; basic; none", choices=tuple(LEVELS)
    )
    int8_convolutions: bool = setting(False, "with precision=int8: convolutions too, not only matrix products")
    allow_spinning: bool = setting(
        True, "idle threads wait busily: quicker answers, but the cores are never free", compile_time=False
    )


class OnnxRuntime(Backend):
    name = "onnxruntime"
    options_type = OnnxRuntimeOptions
    options: OnnxRuntimeOptions
    packages = ("onnxruntime", "onnx", "onnxscript", "torch")
    preload_build = (*onnx_export.PRELOAD, "onnxruntime")
    preload_run = ("onnxruntime",)
    precisions = ("fp32", "int8")
    formats = ("module", "exported", "onnx")
    dynamic_sizes = True
    obeys = ("allocator", "denormals", "gc", "copies")  # its threads are its own, not OpenMP's: see allow_spinning
    concurrent = True  # sessions are made to be shared by threads

    @classmethod
    def build_options(cls, trial: Trial) -> Json:
        options = super().build_options(trial)
        if trial.precision == "int8" and _needs_reduced_range(options):
            options["reduce_range"] = True  # another build than that of a processor with VNNI, in a store that both use
        return options

    def build(self, source: Source, spec: BuildSpec, folder: Path) -> BuildInfo:
        level = self.options.optimization
        exported, target = folder / "exported.onnx", folder / MODEL
        onnx_export.export(source, spec, exported)
        reduce_range = bool(spec.options.get("reduce_range", _needs_reduced_range(spec.options)))
        if spec.precision == "int8":
            exported = _quantise(_fold_weights(exported), self.options.int8_convolutions, reduce_range)
        _optimise(exported, target, level, source)
        for leftover in (file for name in LEFTOVERS for file in folder.glob(name)):
            leftover.unlink()
        notes = _describe(target)
        if spec.precision == "int8" and not notes["quantised"]:
            raise TrialError(FailureKind.UNSUPPORTED_DTYPE, _explain_nothing(notes["operators"]))
        precision = "int8" if notes["quantised"] else str(notes["float"])
        notes.update(optimization=level, portable=level != "all")
        if spec.precision == "int8":
            notes["reduce_range"] = reduce_range
        return BuildInfo(precision=precision, versions=self.versions(), notes=notes)

    def load(self, folder: Path, spec: BuildSpec, placement: Placement, source: Source) -> "OnnxRunner":
        import onnxruntime

        options = _session_options("none")  # the file is optimised already
        options.intra_op_num_threads = max(1, placement.threads)
        options.inter_op_num_threads = 1
        spinning = "1" if self.options.allow_spinning else "0"
        options.add_session_config_entry("session.intra_op.allow_spinning", spinning)
        options.add_session_config_entry("session.set_denormal_as_zero", "1" if denormals.are_flushed() else "0")
        with artifact.reading(folder / MODEL) as path:
            session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        return OnnxRunner(session)


class OnnxRunner(Runner):
    """A session. Each call allocates its outputs anew, so they stay valid."""

    def __init__(self, session: Any) -> None:
        self._run = session.run
        options = session.get_session_options()
        self._threads, self._operators = options.intra_op_num_threads, options.inter_op_num_threads
        entries = session.get_inputs()
        self._names = [entry.name for entry in entries]
        self.shapes = tuple(tuple(size if isinstance(size, int) else None for size in entry.shape) for entry in entries)
        self.precision = session.get_modelmeta().custom_metadata_map.get(PRECISION_KEY, "")

    def prepare(self, inputs: Arrays) -> Dict[str, Any]:
        return dict(zip(self._names, self.check_shapes(inputs)))

    def run(self, request: Any) -> Any:
        return self._run(None, request)

    def count_threads(self) -> Optional[int]:
        return self._threads or None  # 0: the runtime chose

    def count_parallel_operators(self) -> Optional[int]:
        return self._operators or None

    def close(self) -> None:
        self._run = None


def _session_options(level: str) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, LEVELS[level])
    options.log_severity_level = 3  # errors; the warning on portability stands in the notes instead
    return options


def _needs_reduced_range(options: Mapping[str, Any]) -> bool:
    """Whether this processor's products overflow with 8 bits of signed weights; with unsigned weights they never do."""
    return cpu.int8_products_saturate() and not options.get("int8_convolutions", False)


def _explain_nothing(operators: Mapping[str, int]) -> str:
    """Why a model has nothing that was quantised, and what would cover it."""
    text = "onnxruntime found no operator that it can quantise to int8"
    convolutions = sum(count for name, count in operators.items() if "Conv" in name)
    if not convolutions:
        return text + ": it covers products with weights, of which this model has none"
    return text + (
        ": without samples it covers products of matrices, and this model computes with %d convolutions: "
        "backend.options.int8_convolutions=true covers them, and backend=openvino quantises them with samples"
    ) % (convolutions)


def _fold_weights(path: Path) -> Path:
    """Write a file beside it in which weights that nodes make of constants are constants, if there are such weights."""
    import onnx

    graph = onnx.load(str(path), load_external_data=False).graph
    stored = {tensor.name for tensor in graph.initializer}
    constants = {"", *stored}
    for node in graph.node:  # in their order of computing
        if constants.issuperset(node.input) and not any(attribute.HasField("g") for attribute in node.attribute):
            constants.update(node.output)
    weights = {name for node in graph.node if node.op_type in WEIGHTED for name in node.input[1:2]}
    if not weights & constants - stored:
        return path
    target = path.with_name("folded.onnx")
    _write_optimised(path, target, "basic")
    return target


def _quantise(path: Path, convolutions: bool, reduce_range: bool) -> Path:
    """Write a file with int8 weights, which use 7 bits with `reduce_range`, beside the file."""
    import logging

    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    model = onnx.load(str(path), load_external_data=False)
    del model.graph.value_info[:]  # the quantiser turns weights round and then trips over the shapes noted for them
    onnx.save(model, str(path))
    target = path.with_name("quantised.onnx")
    quiet = logging.getLogger()
    level = quiet.level
    quiet.setLevel(logging.ERROR)  # it recommends a pre-processing that the export has done
    try:
        quantize_dynamic(
            str(path),
            str(target),
            use_external_data_format=_weights_beside(path).is_file(),
            op_types_to_quantize=["MatMul", "Gemm", *(["Conv"] if convolutions else [])],
            weight_type=QuantType.QUInt8 if convolutions else QuantType.QInt8,  # ConvInteger is fast unsigned only
            per_channel=not convolutions,
            reduce_range=reduce_range,
        )
    finally:
        quiet.setLevel(level)
    return target


def _optimise(path: Path, target: Path, level: str, source: Source) -> None:
    """Write the optimised file and run it once, so that a model that cannot run fails as a build."""
    runner = OnnxRunner(_write_optimised(path, target, level))

    def answer(inputs: Arrays) -> Arrays:
        return runner.outputs(runner.run(runner.prepare(inputs)))

    answer(source.example)
    dynamic.check(source, answer)


def _write_optimised(path: Path, target: Path, level: str) -> Any:
    """Write the optimised file. Returns the session that did."""
    import onnxruntime

    options = _session_options(level)
    options.optimized_model_filepath = str(target)
    if _weights_beside(path).is_file():
        # Else the optimised file would refer to the weights of the file that it was made of, which does not stay
        entry = "session.optimized_model_external_initializers_"
        options.add_session_config_entry(entry + "file_name", _weights_beside(target).name)
        options.add_session_config_entry(entry + "min_size_in_bytes", "1024")
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def _weights_beside(path: Path) -> Path:
    """Where a file keeps weights that are too large for it, if it does."""
    return path.with_name(path.name + ".data")


def _describe(path: Path) -> Json:
    """Read an optimised file back for the notes, and write its precision into its metadata."""
    import onnx

    model = onnx.load(str(path), load_external_data=False)
    operators: Dict[str, int] = {}
    for node in model.graph.node:
        operators[node.op_type] = operators.get(node.op_type, 0) + 1
    quantised = {name: count for name, count in operators.items() if _is_quantised(name)}
    weights = _count_weights(model.graph.initializer)
    total = sum(weights.values()) or 1
    floats = {name for name in weights if name in ("fp32", "fp16", "bf16")}
    notes: Json = {
        "operators": operators,
        "quantised": quantised,
        "int8_weight_share": round(weights.get("int8", 0) / total, 4),
        "float": "+".join(sorted(floats)) or "fp32",
    }
    onnx.helper.set_model_props(model, {PRECISION_KEY: "int8" if quantised else notes["float"]})
    onnx.save(model, str(path))
    return notes


def _is_quantised(operator: str) -> bool:
    if operator in ("DynamicQuantizeLinear", "QuantizeLinear", "DequantizeLinear"):
        return False  # these convert, they do not compute
    return "Integer" in operator or operator.startswith(("QLinear", "DynamicQuantize", "QGemm", "QAttention"))


def _count_weights(initializers: Any) -> Mapping[str, int]:
    """Count weights by type, without vectors (biases, scales)."""
    from onnx import TensorProto

    names = {
        TensorProto.FLOAT: "fp32",
        TensorProto.FLOAT16: "fp16",
        TensorProto.BFLOAT16: "bf16",
        TensorProto.INT8: "int8",
        TensorProto.UINT8: "int8",
    }
    counts: Dict[str, int] = {}
    for tensor in initializers:
        name = names.get(tensor.data_type)
        if name and len(tensor.dims) > 1:
            counts[name] = counts.get(name, 0) + int(np.prod(tensor.dims))
    return counts
