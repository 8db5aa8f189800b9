"""The original model as an ONNX file, for runtimes that read ONNX.

Shapes are static, except along the axes that are free in the source.
"""

from pathlib import Path
from typing import Any

from sweep.backends import dynamic
from sweep.backends.base import Source, format_shapes
from sweep.backends.pytorch import common
from sweep.spec import BuildSpec, FailureKind, TrialError
from sweep.workloads import OnnxFile, onnx_files, torch_models

PRELOAD = ("torch", "torch._dynamo", "onnx", "onnxscript")  # what an export imports, for a fork server to have ahead


def export(source: Source, spec: BuildSpec, path: Path) -> None:
    """Write `source` to `path`, fp32, for the shapes of its example; its free axes stay free. An ONNX file is copied.

    Raises:
        TrialError: of the kind dynamic_shape, if the model fixes a size that should be free.
        Exception: the exporter's own; its text names the operator.
    """
    model = source.load_model()
    if spec.model.get("format") == "onnx":
        _copy(model, path, source)
        return
    import torch

    names = list(source.input_names)
    with common.quiet():
        plain = common.cast_inside(model, "fp32", False)
        program = torch.onnx.export(
            common.export(plain, source) if source.dynamic else plain,
            () if source.dynamic else torch_models.to_tensors(source.example),
            input_names=names,
            dynamo=True,
            verbose=False,
        )
        assert program is not None  # only without dynamo does the exporter return nothing
        program.save(str(path))
    _check_inputs(path, names)


def _check_inputs(path: Path, names: Any) -> None:
    """Check that the exporter kept also the inputs that the model ignores: else later inputs would be shifted."""
    import onnx

    graph = onnx.load(str(path), load_external_data=False).graph
    kept = [entry.name for entry in graph.input]
    if kept != list(names):
        raise RuntimeError("the exported model takes %s, not %s" % (kept, list(names)))


def _copy(given: OnnxFile, path: Path, source: Source) -> None:
    """Copy the file, with its weights, and fix its free dimensions to those of the example, or leave them free.

    Raises:
        TrialError: the file fixes a dimension to another size, or one that should be free.
    """
    model = onnx_files.read(given)
    for entry, shape in zip(onnx_files.list_free_inputs(model), dynamic.find_shapes(source)):
        dims = entry.type.tensor_type.shape.dim
        fixed = tuple(map(onnx_files.read_size, dims))
        dynamic.check_free(entry.name, fixed, shape)
        if len(fixed) != len(shape) or any(have not in (None, size) for have, size in zip(fixed, shape)):
            here, wanted = format_shapes((fixed,)), format_shapes((shape,))
            summary = "the ONNX file's input %s is %s, not %s" % (entry.name, here, wanted)
            raise TrialError(FailureKind.SHAPE_MISMATCH, summary)
        for dim, size in zip(dims, shape):
            if size is not None:
                dim.dim_value = size
    onnx_files.save(model, str(path), beside=bool(onnx_files.list_weight_files(given.path)))
