"""The original model as an ONNX file: the way in for every runtime that reads ONNX.

Shapes are static, but for the axes that the source says may have any size.
"""

from pathlib import Path
from typing import Any

from sweep.backends import dynamic
from sweep.backends.base import Source, format_shapes
from sweep.backends.pytorch import common
from sweep.spec import BuildSpec, FailureKind, TrialError

PRELOAD = ("torch", "torch._dynamo", "onnx", "onnxscript")  # what an export imports, for a fork server to have ahead


def export(source: Source, spec: BuildSpec, path: Path) -> None:
    """Write `source` to `path`, fp32, for the shapes of its example; its free axes stay free. An ONNX file is copied.

    Raises:
        TrialError: of the kind dynamic_shape, where the model fixes a size that should be free.
        Exception: whatever the exporter says; its text names the operator.
    """
    model = source.load_model()
    if spec.model.get("format") == "onnx":
        _copy(Path(model.path), path, source)
        return
    import torch

    names = list(source.input_names)
    with common.quiet():
        plain = common.cast_inside(model, "fp32", False)
        program = torch.onnx.export(
            common.exported(plain, source) if source.dynamic else plain,
            () if source.dynamic else common.tensors(source.example),
            input_names=names,
            dynamo=True,
            verbose=False,
        )
        assert program is not None  # only without dynamo does the exporter return nothing
        program.save(str(path))
    _check_inputs(path, names)


def _check_inputs(path: Path, names: Any) -> None:
    """An input that the model ignores is kept by the exporter; were it dropped, every later input would be shifted."""
    import onnx

    graph = onnx.load(str(path), load_external_data=False).graph
    found = [entry.name for entry in graph.input]
    if found != list(names):
        raise RuntimeError("the exported model takes %s, not %s" % (found, list(names)))


def _copy(given: Path, path: Path, source: Source) -> None:
    """The file with its free dimensions fixed to those of the example, but for those that are to stay free.

    The weights that stood beside it go along.

    Raises:
        TrialError: where the file's own fixed dimensions are others, or are to be free.
    """
    import onnx
    from onnx.external_data_helper import uses_external_data

    model = onnx.load(str(given))
    constants = {tensor.name for tensor in model.graph.initializer}
    entries = [entry for entry in model.graph.input if entry.name not in constants]
    for entry, shape in zip(entries, dynamic.shapes(source)):
        dims = entry.type.tensor_type.shape.dim
        fixed = tuple(dim.dim_value if dim.HasField("dim_value") else None for dim in dims)
        dynamic.check_free(entry.name, fixed, shape)
        if len(fixed) != len(shape) or any(have not in (None, size) for have, size in zip(fixed, shape)):
            here, wanted = format_shapes((fixed,)), format_shapes((shape,))
            summary = "the ONNX file's input %s is %s, not %s" % (entry.name, here, wanted)
            raise TrialError(FailureKind.SHAPE_MISMATCH, summary)
        for dim, size in zip(dims, shape):
            if size is not None:
                dim.dim_value = size
    header = onnx.load(str(given), load_external_data=False)
    beside = any(uses_external_data(tensor) for tensor in header.graph.initializer)
    onnx.save(model, str(path), save_as_external_data=beside, location=path.name + ".data" if beside else None)
