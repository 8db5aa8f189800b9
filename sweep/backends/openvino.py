"""OpenVINO on the CPU: converted to its own format, quantised where asked, compiled when loaded.

The precision is always set and read back: asked nothing, OpenVINO runs bf16 on a processor that multiplies it. int8 is
quantisation after training by nncf, with the calibration samples of the data set; operators that do not gain stay fp32.
A model with attention is quantised in nncf's way for transformers.
"""

from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Callable, Dict, Mapping, Optional, Tuple

from sweep.backends import artifact, cpu, dynamic
from sweep.backends.base import Arrays, Backend, Runner, Shape, Source, format_shapes
from sweep.backends.options import Options
from sweep.backends.pytorch import common
from sweep.spec import BuildInfo, BuildSpec, FailureKind, Json, Placement, TrialError, UserError
from sweep.spec.declared import setting

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

        model = _converted(source, spec)
        how: Json = {}
        if spec.precision == "int8":
            model, how = _quantised(model, source, self.options, spec.batch)
        openvino.save_model(model, str(folder / MODEL), compress_to_fp16=False)
        compiled = _compiled(folder / MODEL, spec, Placement(threads=1))
        compiled.create_infer_request().infer(list(source.example))
        operators = _compute_operators(compiled)
        if spec.precision == "int8" and not operators.get("int8"):
            raise TrialError(FailureKind.UNSUPPORTED_DTYPE, "nncf found no operator in this model to quantise to int8")
        notes: Json = {"compute_operators": operators, "portable": True, "compiled": "when loaded", **how}
        return BuildInfo(precision=_precision(compiled, operators), versions=self.versions(spec.precision), notes=notes)

    def load(self, folder: Path, spec: BuildSpec, placement: Placement, source: Source) -> "OpenVinoRunner":
        with artifact.reading(folder / MODEL) as path:
            compiled = _compiled(path, spec, placement)
        return OpenVinoRunner(compiled)


class OpenVinoRunner(Runner):
    """One infer request. Inputs are read where they lie; outputs are copied, so they stay valid."""

    def __init__(self, compiled: Any) -> None:
        self.shapes = tuple(_sizes(entry) for entry in compiled.inputs)
        self._infer = compiled.create_infer_request().infer
        self.precision = _precision(compiled, _compute_operators(compiled))

    def prepare(self, inputs: Arrays) -> Any:
        import openvino

        arrays = self.check_shapes(inputs)
        return {number: openvino.Tensor(array, shared_memory=True) for number, array in enumerate(arrays)}

    def run(self, request: Any) -> Any:
        return self._infer(request, share_inputs=True, share_outputs=False)

    def outputs(self, raw: Any) -> Arrays:
        return tuple(raw[number] for number in range(len(raw)))

    def close(self) -> None:
        self._infer = None


def _converted(source: Source, spec: BuildSpec) -> Any:
    """The model in OpenVINO's own form, with the shapes of the example but for the axes that are to be free."""
    import openvino

    model = source.load_model()
    shapes = [openvino.PartialShape([-1 if size is None else size for size in each]) for each in dynamic.shapes(source)]
    if spec.model.get("format") == "onnx":
        converted = openvino.convert_model(model.path)
        _reshape_file(converted, source, shapes)
        dynamic.check(source, _answering(converted))
        return converted
    with common.quiet():
        plain = common.cast_inside(model, "fp32", False)
        if spec.model.get("format") == "exported":  # cannot be traced
            converted = openvino.convert_model(common.exported(plain, source))
            converted.reshape(dict(enumerate(shapes)))
        else:
            converted = openvino.convert_model(plain, example_input=common.tensors(source.example), input=shapes)
        dynamic.check(source, _answering(converted), common.answering(plain))
    for name, entry in zip(source.input_names, converted.inputs):
        entry.get_tensor().set_names({name})
    return converted


def _reshape_file(converted: Any, source: Source, shapes: Any) -> None:
    """Give an ONNX file's model the shapes. What is fixed in the file may change, but cannot be made free."""
    for entry, shape in zip(converted.inputs, dynamic.shapes(source)):
        dynamic.check_free(entry.any_name, _sizes(entry), shape)
    try:
        converted.reshape(dict(enumerate(shapes)))
    except RuntimeError as error:
        lines = str(error).strip().splitlines()
        wanted = format_shapes(dynamic.shapes(source))
        raise TrialError(FailureKind.SHAPE_MISMATCH, "the ONNX file takes no %s: %s" % (wanted, lines[-1])) from error


def _sizes(entry: Any) -> Shape:
    """The shape of an input, None for an axis that may have any size."""
    return tuple(None if size.is_dynamic else size.get_length() for size in entry.partial_shape)


def _answering(model: Any) -> Callable[[Arrays], Arrays]:
    """What a converted model answers in fp32. It is compiled when it is first asked."""

    def answer(inputs: Arrays) -> Arrays:
        import openvino

        compiled = openvino.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        found = compiled.create_infer_request().infer(list(inputs))
        return tuple(found[number].copy() for number in range(len(found)))

    return answer


def _quantised(model: Any, source: Source, options: OpenVinoOptions, batch: int) -> Tuple[Any, Json]:
    """The model with int8 operators, and how it was done.

    nncf's plain way spoils attention: embeddings of MiniLM had a cosine of 0.61 with the original's, 0.85 where it gave
    both signs of activations a scale of their own. Its way for transformers keeps them (0.995).
    """
    import nncf

    batches = list(source.calibration())[: -(-options.calibration_samples // batch)]
    if not batches:
        raise UserError("precision=int8 needs calibration samples and the data has none")
    attends = _attends(model)
    quantised = nncf.quantize(
        model,
        nncf.Dataset(batches),
        subset_size=len(batches),
        fast_bias_correction=options.fast_bias_correction,
        model_type=nncf.ModelType.TRANSFORMER if attends else None,
    )
    return quantised, {"quantised_as": "transformer" if attends else "other"}


def _attends(model: Any) -> bool:
    """Whether there is attention in a model: whole, or as a matrix product with what a softmax gives."""
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


def _compiled(path: Path, spec: BuildSpec, placement: Placement) -> Any:
    import openvino

    settings = {
        "INFERENCE_PRECISION_HINT": HINTS[spec.precision],
        "INFERENCE_NUM_THREADS": max(1, placement.threads),
        "NUM_STREAMS": "1",
        "PERFORMANCE_HINT": "LATENCY",
        "ENABLE_CPU_PINNING": False,  # the process is pinned to its cores already
    }
    return openvino.Core().compile_model(str(path), "CPU", settings)


def _compute_operators(compiled: Any) -> Dict[str, int]:
    """How many of the operators that do the work run in which precision, from the graph that really runs."""
    found: Dict[str, int] = {}
    for node in compiled.get_runtime_model().get_ordered_ops():
        facts = node.get_rt_info()
        if facts["layerType"].astype(str) in COMPUTE:
            precision = facts["runtimePrecision"].astype(str)
            name = NAMES.get(precision, precision)
            found[name] = found.get(name, 0) + 1
    return found


def _precision(compiled: Any, operators: Dict[str, int]) -> str:
    """int8 where any of the work is; otherwise what the framework says that it was set to."""
    if operators.get("int8"):
        return "int8"
    import openvino

    types = {openvino.Type.f32: "fp32", openvino.Type.bf16: "bf16", openvino.Type.f16: "fp16"}
    return types.get(compiled.get_property("INFERENCE_PRECISION_HINT"), "unknown")
