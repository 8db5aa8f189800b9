"""OpenVINO on the CPU: converted to its own format, quantised with precision=int8, compiled when loaded.

The precision is always set and read back: without a setting OpenVINO runs bf16 on a processor that multiplies it. int8
is quantisation after training by nncf, with the calibration samples of the data set; operators that do not gain stay
fp32. A model with attention is quantised in nncf's way for transformers.
"""

import itertools
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Callable, Dict, Mapping, Optional, Tuple, Union

from sweep.backends import artifact, cpu, dynamic
from sweep.backends.base import Arrays, Backend, Runner, Shape, Source, format_shapes
from sweep.backends.options import Options
from sweep.backends.pytorch import common
from sweep.isolate import denormals
from sweep.spec import BuildInfo, BuildSpec, FailureKind, Json, Placement, TrialError, UserError
from sweep.spec.declared import setting
from sweep.workloads import onnx_files, torch_models

MODEL = "model.xml"
HINTS = {"fp32": "f32", "bf16": "bf16", "int8": "f32"}
COMPUTE = (
    "Convolution",
    "FullyConnected",
    "MatMul",
    "Deconvolution",
    "GroupConvolution",
    "RNNSeq",
    "RNNCell",
    "MHA",
    "ScaledDotProductAttention",
)

NAMES = {"f32": "fp32", "bf16": "bf16", "f16": "fp16", "i8": "int8", "u8": "int8"}


@dataclass(frozen=True)
class OpenVinoOptions(Options):
    calibration_samples: int = setting(200, "with precision=int8: at most so many", least=1)
    fast_bias_correction: bool = setting(
        True, "with precision=int8; false: slower and often closer to the original model"
    )
    transformer: Union[bool, str] = setting(
        "auto",
        "with precision=int8: nncf's way for transformers; auto: where there is attention; set with a + in front",
        choices=("auto",),
        listed=False,
    )


class OpenVino(Backend):
    name = "openvino"
    options_type = OpenVinoOptions
    options: OpenVinoOptions
    packages = ("openvino", "torch")
    optional_packages: Mapping[str, Tuple[str, ...]] = MappingProxyType({"int8": ("nncf",)})
    extra = "quant"
    preload_build = ("torch", "openvino")
    preload_run = ("openvino",)
    precisions = ("fp32", "bf16", "int8")
    formats = ("module", "torchscript", "exported", "onnx")
    dynamic_sizes = True
    obeys = ("allocator", "denormals", "gc", "copies")

    @classmethod
    def supports(cls, spec: BuildSpec) -> Optional[str]:
        if spec.precision == "bf16" and not cpu.has_bf16():
            return "openvino bf16 needs a processor that multiplies it (avx512_bf16 or amx_bf16): use precision=fp32"
        return super().supports(spec)

    def probe(self) -> Json:
        import openvino

        return {
            "versions": dict(self.versions()),
            "devices": [name.lower() for name in openvino.Core().available_devices],
        }

    def build(self, source: Source, spec: BuildSpec, folder: Path) -> BuildInfo:
        import openvino

        model = _convert(source, spec)
        quantisation: Json = {}
        if spec.precision == "int8":
            model, quantisation = _quantise(model, source, self.options, spec.batch)
        openvino.save_model(model, str(folder / MODEL), compress_to_fp16=False)
        compiled = _compile(folder / MODEL, spec, Placement(threads=1))
        compiled.create_infer_request().infer(list(source.example))
        operators = _count_operators(compiled)
        if spec.precision == "int8" and not operators.get("int8"):
            raise TrialError(FailureKind.UNSUPPORTED_DTYPE, "nncf found no operator in this model to quantise to int8")
        notes: Json = {"compute_operators": operators, "portable": True, "compiled": "when loaded", **quantisation}
        precision = _find_precision(compiled, operators)
        return BuildInfo(precision=precision, versions=self.versions(spec.precision), notes=notes)

    def load(self, folder: Path, spec: BuildSpec, placement: Placement, source: Source) -> "OpenVinoRunner":
        with artifact.reading(folder / MODEL) as path:
            compiled = _compile(path, spec, placement)
        return OpenVinoRunner(compiled)


class OpenVinoRunner(Runner):
    """One infer request. Inputs are read where they lie; outputs are copied, so they stay valid."""

    def __init__(self, compiled: Any) -> None:
        self.shapes = tuple(_read_shape(entry) for entry in compiled.inputs)
        self._infer = compiled.create_infer_request().infer
        self._threads = int(compiled.get_property("INFERENCE_NUM_THREADS"))
        self.precision = _find_precision(compiled, _count_operators(compiled))

    def prepare(self, inputs: Arrays) -> Any:
        import openvino

        arrays = self.check_shapes(inputs)
        return {number: openvino.Tensor(array, shared_memory=True) for number, array in enumerate(arrays)}

    def run(self, request: Any) -> Any:
        return self._infer(request, share_inputs=True, share_outputs=False)

    def outputs(self, raw: Any) -> Arrays:
        return super().outputs(raw[number] for number in range(len(raw)))

    def count_threads(self) -> Optional[int]:
        return self._threads

    def close(self) -> None:
        self._infer = None


def _convert(source: Source, spec: BuildSpec) -> Any:
    """Convert the model to OpenVINO's form, with the shapes of the example; axes of any size stay free."""
    import openvino

    model = source.load_model()
    sizes = [[-1 if size is None else size for size in shape] for shape in dynamic.find_shapes(source)]
    shapes = [openvino.PartialShape(shape) for shape in sizes]
    if spec.model.get("format") == "onnx":
        with onnx_files.on_disk(model) as path:
            converted = openvino.convert_model(path)
        _reshape_file(converted, source, shapes)
        dynamic.check(source, _make_answer(converted))
        return converted
    with common.quiet():
        plain = common.cast_inside(model, "fp32", False)
        if spec.model.get("format") == "exported":  # cannot be traced
            converted = openvino.convert_model(common.export(plain, source))
            converted.reshape(dict(enumerate(shapes)))
        else:
            example = torch_models.to_tensors(source.example)
            converted = openvino.convert_model(plain, example_input=example, input=shapes)
        dynamic.check(source, _make_answer(converted), torch_models.take_arrays(plain))
    for name, entry in zip(source.input_names, converted.inputs):
        entry.get_tensor().set_names({name})
    return converted


def _reshape_file(converted: Any, source: Source, shapes: Any) -> None:
    """Give an ONNX file's model the shapes. A size that the file fixes may change, but cannot be made free."""
    for entry, shape in zip(converted.inputs, dynamic.find_shapes(source)):
        dynamic.check_free(entry.any_name, _read_shape(entry), shape)
    try:
        converted.reshape(dict(enumerate(shapes)))
    except RuntimeError as error:
        lines = str(error).strip().splitlines()
        wanted = format_shapes(dynamic.find_shapes(source))
        raise TrialError(FailureKind.SHAPE_MISMATCH, "the ONNX file takes no %s: %s" % (wanted, lines[-1])) from error


def _read_shape(entry: Any) -> Shape:
    """The shape of an input, None for an axis that may have any size."""
    return tuple(None if size.is_dynamic else size.get_length() for size in entry.partial_shape)


def _make_answer(model: Any) -> Callable[[Arrays], Arrays]:
    """A function that answers with a converted model in fp32; each call compiles it."""

    def answer(inputs: Arrays) -> Arrays:
        import openvino

        compiled = openvino.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        raw = compiled.create_infer_request().infer(list(inputs))
        return tuple(raw[number].copy() for number in range(len(raw)))

    return answer


def _quantise(model: Any, source: Source, options: OpenVinoOptions, batch: int) -> Tuple[Any, Json]:
    """The model with int8 operators, and how nncf took it.

    Without `model_type` nncf spoils attention: embeddings of MiniLM had a cosine of 0.61 with the original's, 0.85 with
    a scale for each sign of the activations. With `TRANSFORMER` it was 0.995.
    """
    import nncf

    batches = list(itertools.islice(source.calibration(), -(-options.calibration_samples // batch)))
    if not batches:
        raise UserError("precision=int8 needs calibration samples and the data has none")
    attends = _attends(model) if options.transformer == "auto" else bool(options.transformer)
    quantised = nncf.quantize(
        model,
        nncf.Dataset(batches),
        subset_size=len(batches),
        fast_bias_correction=options.fast_bias_correction,
        model_type=nncf.ModelType.TRANSFORMER if attends else None,
    )
    return quantised, {"quantised_as": "transformer" if attends else "other"}


def _attends(model: Any) -> bool:
    """Whether a model has attention: as an operator, or as a matrix product with the result of a softmax."""
    for node in model.get_ordered_ops():
        if node.get_type_name() == "ScaledDotProductAttention":
            return True
        if node.get_type_name() == "MatMul":
            source = node.input_value(0).get_node()
            while source.get_type_name() in ("Reshape", "Transpose", "Convert", "Unsqueeze", "Squeeze"):
                source = source.input_value(0).get_node()
            if source.get_type_name() == "Softmax":
                return True
    return False


def _compile(path: Path, spec: BuildSpec, placement: Placement) -> Any:
    import openvino

    settings = {
        "INFERENCE_PRECISION_HINT": HINTS[spec.precision],
        "INFERENCE_NUM_THREADS": max(1, placement.threads),
        "NUM_STREAMS": "1",
        "PERFORMANCE_HINT": "LATENCY",
        "ENABLE_CPU_PINNING": False,  # the process is pinned to its cores already
        **({"CPU_DENORMALS_OPTIMIZATION": True} if denormals.are_flushed() else {}),
    }
    return openvino.Core().compile_model(str(path), "CPU", settings)


def _count_operators(compiled: Any) -> Dict[str, int]:
    """Count the operators that do the work by the precision in which they run, in the graph that really runs."""
    counts: Dict[str, int] = {}
    for node in compiled.get_runtime_model().get_ordered_ops():
        facts = node.get_rt_info()
        if facts["layerType"].astype(str) in COMPUTE:
            precision = facts["runtimePrecision"].astype(str)
            name = NAMES.get(precision, precision)
            counts[name] = counts.get(name, 0) + 1
    return counts


def _find_precision(compiled: Any, operators: Dict[str, int]) -> str:
    """int8 if any of the work is, else the setting that the framework reports."""
    if operators.get("int8"):
        return "int8"
    import openvino

    types = {openvino.Type.f32: "fp32", openvino.Type.bf16: "bf16", openvino.Type.f16: "fp16"}
    return types.get(compiled.get_property("INFERENCE_PRECISION_HINT"), "unknown")
