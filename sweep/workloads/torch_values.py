"""Values of torch for a `Digest`: tensors of every layout, modules, packed weights, scripts and graphs.

Nothing here imports torch: where it was not imported there are none of its values.
"""

import io
import re
import sys
import warnings
import zipfile
from typing import Any

CONTENT = ("_parameters", "_buffers", "_modules")  # of any module
GUARDS = "_guards_fn"  # of an exported program: checks of its inputs, which decide no answer
NO_CONTENT = (".debug_pkl", "/version", "/byteorder", "serialization_id", "/.format_version", "/.storage_alignment")
"""Ends of files in an archive of TorchScript that decide no answer."""


def add(digest: Any, value: Any, path: str) -> bool:
    """Add a value of torch; False if it is not of torch, or is as any other object."""
    torch: Any = sys.modules.get("torch")
    if torch is None or not hasattr(torch, "jit"):
        return False
    if isinstance(value, torch.Tensor):
        _add_tensor(digest, torch, value, path)
    elif isinstance(value, (torch.jit.ScriptModule, torch.jit.ScriptFunction)):
        _add_archive(digest, torch, value, path)
    elif isinstance(value, torch.nn.Module):
        _add_module(digest, torch, value, path)
    elif isinstance(value, torch._C.ScriptObject):
        _add_packed(digest, value, path)
    elif type(value).__module__ == "torch._ops":
        digest.put("operator", str(value))
    else:
        return False
    return True


def _add_tensor(digest: Any, torch: Any, tensor: Any, path: str) -> None:
    digest.put("tensor", "%s %s %s" % (tensor.dtype, tuple(tensor.shape), tensor.layout))
    if hasattr(tensor, "__tensor_flatten__"):  # of a class of its own, around other tensors
        names, settings = tensor.__tensor_flatten__()
        digest.put_name(type(tensor))
        digest.add_named({name: getattr(tensor, name) for name in names}, path)
        digest.add(settings, path)
        return
    if getattr(tensor, "__dict__", None):
        digest.add_named(vars(tensor), path)
    whole = tensor.detach()
    if whole.is_meta or whole.is_nested:
        digest.add_opaque(tensor, path)
        return
    if whole.is_quantized:
        digest.put("scheme", str(whole.qscheme()))
        for part in _list_scales(torch, whole):
            _put_content(digest, torch, part)
        whole = whole.int_repr()
    if whole.layout is torch.strided:
        _put_content(digest, torch, whole)
    elif whole.layout is torch._mkldnn:
        _put_content(digest, torch, whole.to_dense())
    else:
        sparse = (whole if whole.layout is torch.sparse_coo else whole.to_sparse()).coalesce()
        _put_content(digest, torch, sparse.indices())
        _put_content(digest, torch, sparse.values())


def _list_scales(torch: Any, tensor: Any) -> Any:
    if tensor.qscheme() in (torch.per_tensor_affine, torch.per_tensor_symmetric):
        return [torch.tensor([tensor.q_scale()], dtype=torch.float64), torch.tensor([tensor.q_zero_point()])]
    axis = torch.tensor([tensor.q_per_channel_axis()])
    return [tensor.q_per_channel_scales(), tensor.q_per_channel_zero_points(), axis]


def _put_content(digest: Any, torch: Any, tensor: Any) -> None:
    flat = tensor.detach().cpu().resolve_conj().resolve_neg().contiguous().reshape(-1)
    digest.put("content", flat.view(torch.uint8).numpy().data if flat.numel() else b"")


def _add_module(digest: Any, torch: Any, module: Any, path: str) -> None:
    """A module: its class and all its attributes. Those that every module has count where they hold something."""
    digest.put("module")
    common, own = vars(torch.nn.Module()), dict(vars(module))
    if isinstance(module, torch.fx.GraphModule):  # its class is made anew each time
        digest.put("graph", _format_graph(digest, module.graph, path))
        kinds = (torch.Tensor, torch._C.ScriptObject)
        own = {name: value for name, value in own.items() if name in CONTENT or isinstance(value, kinds)}
        own["_modules"] = {name: part for name, part in module._modules.items() if name != GUARDS}
    else:
        digest.add(type(module), path)
    for name in common:
        if name in own and not own[name]:
            del own[name]
        elif "_hooks" in name and name in own:  # their keys count all hooks of the process
            own[name] = list(own[name].values())
    digest.add_named(own, path)


def _format_graph(digest: Any, graph: Any, path: str) -> str:
    """The nodes of a graph as text; functions that they call are added."""
    lines = []
    for node in graph.nodes:
        if callable(node.target):
            digest.add(node.target, "%s.%s" % (path, node.name))
        target = "" if callable(node.target) else str(node.target)
        lines.append("%s %s %s %s %s" % (node.op, node.name, target, node.args, node.kwargs))
    return "\n".join(lines)


def _add_archive(digest: Any, torch: Any, module: Any, path: str) -> None:
    """What TorchScript would save: code, constants, weights, packed ones too."""
    buffer = io.BytesIO()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of torch, that scripts have no future
            torch.jit.save(module, buffer)
    except Exception:  # weights in layouts of this processor, or objects that have no form to save
        digest.put("graph", _drop_counters(str(getattr(module, "inlined_graph", module)).encode()))
        digest.add_opaque(module, path)
        return
    parts = []
    with zipfile.ZipFile(buffer) as archive:
        for name in archive.namelist():
            if not name.endswith(NO_CONTENT):
                parts.append((_drop_counters(name.encode()), _drop_counters(archive.read(name))))
    for path_inside, content in sorted(parts):
        digest.put("file", path_inside)
        digest.put("content", content)


def _drop_counters(text: bytes) -> bytes:
    """A text of TorchScript without the numbers by which a process tells classes of one name apart."""
    return re.sub(rb"___torch_mangle_\d+", b"___torch_mangle", text)


def _add_packed(digest: Any, value: Any, path: str) -> None:
    """Weights in a form that only an operator reads, as those of quantised layers."""
    digest.put("packed", str(value._type()))
    for name in ("__obj_flatten__", "__getstate__"):
        try:
            state = getattr(value, name)()
        except Exception:  # a class of another library, whatever it raises
            continue
        digest.add(state, path)
        return
    digest.add_opaque(value, path)
