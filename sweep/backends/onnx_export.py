"""The original model as an ONNX file with static shapes: the way in for every runtime that reads ONNX."""

from pathlib import Path
from typing import Any

from sweep.backends import torch_common as common
from sweep.backends.base import Arrays, Source
from sweep.spec import BuildSpec, FailureKind, TrialError

PRELOAD = ("torch", "torch._dynamo", "onnx", "onnxscript")  # what an export imports, for a fork server to have ahead


def export(source: Source, spec: BuildSpec, path: Path) -> None:
    """Write `source` to `path`, fp32, for exactly the shapes of its example. An ONNX file is copied.

    Raises:
        Exception: whatever the exporter says; its text names the operator.
    """
    model = source.load_model()
    if spec.model.get("format") == "onnx":
        _copy(Path(model.path), path, source.example)
        return
    import torch

    names = list(source.input_names)
    with common.quiet():
        program = torch.onnx.export(
            common.cast_inside(model, "fp32", False),
            common.tensors(source.example),
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


def _copy(given: Path, path: Path, example: Arrays) -> None:
    """The file with its free dimensions fixed to those of `example`; the weights that stood beside it go along.

    Raises:
        TrialError: where the file's own fixed dimensions are others.
    """
    import onnx
    from onnx.external_data_helper import uses_external_data

    model = onnx.load(str(given))
    constants = {tensor.name for tensor in model.graph.initializer}
    entries = [entry for entry in model.graph.input if entry.name not in constants]
    for entry, array in zip(entries, example):
        dims = entry.type.tensor_type.shape.dim
        fixed = [dim.dim_value if dim.HasField("dim_value") else None for dim in dims]
        fits = len(dims) == array.ndim and all(have in (None, size) for have, size in zip(fixed, array.shape))
        if not fits:
            wanted = "x".join(str(size or "?") for size in fixed)
            summary = "the ONNX file's input %s is %s, not %s" % (entry.name, wanted, "x".join(map(str, array.shape)))
            raise TrialError(FailureKind.SHAPE_MISMATCH, summary)
        for dim, size in zip(dims, array.shape):
            dim.dim_value = size
    header = onnx.load(str(given), load_external_data=False)
    beside = any(uses_external_data(tensor) for tensor in header.graph.initializer)
    onnx.save(model, str(path), save_as_external_data=beside, location=path.name + ".data" if beside else None)
