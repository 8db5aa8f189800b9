"""The identity of a model: everything that decides its answers, as one hash that is equal in every process.

These are the files of a model that is a file; else its weights, its attributes of every type, the source of all modules
of the user's that its code reaches, and the versions of the installed packages that hold its classes.
"""

import hashlib
from pathlib import Path
from typing import Any, List, NamedTuple, Tuple

from sweep.spec import UserError
from sweep.workloads import closure, onnx_files, tensorflow_models
from sweep.workloads.base import OnnxFile, SavedModel
from sweep.workloads.values import Digest


class Identity(NamedTuple):
    """What a model is, as far as it can be seen without asking it."""

    key: str  # 32 hexadecimal digits
    sealed: bool = True  # hashed files and installed packages are all that decides its answers
    opaque: Tuple[str, ...] = ()  # places of values that could not be looked into


def identify(model: Any, target: str = "") -> Identity:
    """The identity of a model.

    Args:
        target: full name of the factory that made it, `model._target_`.
    """
    if isinstance(model, (OnnxFile, SavedModel)):
        return Identity(_hash_files(model))
    digest = Digest()
    if tensorflow_models.owns(model):
        tensorflow_models.add_to_digest(model, digest)
    else:
        digest.add(model)
    reached = closure.trace({*digest.modules, *_list_factory(target)})
    digest.add_named({**reached.files, **reached.own, **reached.distributions}, "")
    unseen = ["the source of %s" % name for name in reached.unseen]
    opaque = tuple(dict.fromkeys([*digest.opaque, *unseen]))
    return Identity(digest.hexdigest()[:32], not reached.files and not opaque, opaque)


def _list_factory(target: str) -> List[str]:
    """The module of a factory. Those of this project return what the hash of the model itself covers."""
    module = target.rpartition(".")[0]
    return [] if module.partition(".")[0] in ("", closure.OWN) else [module]


def _hash_files(model: Any) -> str:
    state = hashlib.sha256()
    for name, path in _list_files(model):
        if not path.is_file():
            raise UserError("the ONNX file %s has weights in %s, and there is no such file" % (model.path, path))
        state.update(("%s %d:" % (name, path.stat().st_size)).encode())
        with open(str(path), "rb") as file:
            for block in iter(lambda: file.read(1 << 20), b""):
                state.update(block)
    if isinstance(model, SavedModel):
        state.update(repr(model.inputs).encode())
    return state.hexdigest()[:32]


def _list_files(model: Any) -> List[Tuple[str, Path]]:
    """The files of a model, each by its name beneath the folder that they share."""
    if isinstance(model, OnnxFile):
        weights = map(Path, onnx_files.list_weight_files(model.path))
        return [("", Path(model.path)), *((str(path.relative_to(Path(model.path).parent)), path) for path in weights)]
    paths = sorted(path for path in Path(model.path).rglob("*") if path.is_file())
    return [(str(path.relative_to(model.path)), path) for path in paths]
