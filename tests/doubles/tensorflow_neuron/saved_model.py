"""`tfn.saved_model` of TensorFlow 1."""

from typing import Any, Dict, Iterable, List, Mapping, Optional

from tensorflow import _storage
from tensorflow._graph import Node
from tensorflow_double import compilers, converting, partition
from tensorflow_double.calls import documented
from tensorflow_double.converting import PACKAGE


@documented("tf-compile-keyword", "inference_graph_from_session", PACKAGE)
def inference_graph_from_session(
    model_dir: Any,
    new_model_dir: Any,
    shapes: Any,
    *,
    shape_feed_dict: Optional[Mapping[str, Any]] = None,
    feed_dict: Optional[Mapping[str, Any]] = None,
    dynamic_batch_size: bool = False,
    protected_op_names: Optional[Iterable[str]] = None,
    supported_op_types: Optional[Iterable[str]] = None,
    no_fuse_ops: Optional[Iterable[Any]] = None,
    force_fuse_ops: Optional[Iterable[Any]] = None,
    minimum_segment_size: Optional[int] = None,
    grappler: bool = False,
    max_num_compilers: Optional[int] = None,
    compiler_args: Optional[List[str]] = None,
    compiler_workdir: Optional[str] = None,
    compiler_timeout: Optional[float] = None,
    compiler_recovery: bool = True,
    compiler_verbose: Optional[int] = None,
    amp_pass: bool = False,
) -> float:
    """Where the keywords go that `compile` does not know itself; one that is not here is a TypeError."""
    arguments, workdir, verbose, recovery = converting.environment(
        compiler_args, compiler_workdir, compiler_verbose, compiler_recovery
    )
    supported = set(partition.SUPPORTED if supported_op_types is None else supported_op_types)
    left_out, forced = set(converting.names_of(no_fuse_ops)), set(converting.names_of(force_fuse_ops))

    def chosen(node: Node) -> bool:
        return node.name not in left_out and (node.op in supported or node.name in forced)

    request = converting.Request(
        compilers.Settings(arguments, workdir, compiler_timeout, verbose),
        recovery,
        dynamic_batch_size,
        chosen,
        converting.MINIMUM_SEGMENT if minimum_segment_size is None else minimum_segment_size,
    )
    return converting.convert(model_dir, new_model_dir, shapes, request)


@documented("tf-compile-keyword", "saved_model.compile", PACKAGE)
def convert_to_inference_model(
    model_dir: Any,
    new_model_dir: Any,
    batch_size: int = 1,
    model_shape_feed_dict: Optional[Mapping[str, Any]] = None,
    model_feed_dict: Optional[Mapping[str, Any]] = None,
    tags: Any = None,
    signature_def_key: Optional[str] = None,
    strip_default_attrs: bool = False,
    config_proto: Any = None,
    constant_size_to_exclude: int = 1024,
    convert_constants_to_variables: bool = False,
    compiler_workdir: Optional[str] = None,
    **kwargs: Any,
) -> Dict[str, float]:
    """A compiled copy of a SavedModel, written whether or not anything was compiled: the ratio says what was.

    Raises:
        AssertionError: `new_model_dir` exists.
        ValueError: shapes stay open, or a subgraph failed and there is no recovery.
    """
    converting.check_new(new_model_dir)
    stored = _storage.read(model_dir)
    if tags is not None and set(tags.split(",") if isinstance(tags, str) else tags) != set(stored.tags):
        raise RuntimeError("MetaGraphDef associated with tags %r could not be found in SavedModel." % (tags,))
    if signature_def_key not in (None, stored.signature):
        raise KeyError(signature_def_key)
    shapes = converting.input_shapes(stored.graph, batch_size, model_shape_feed_dict, model_feed_dict)
    ratio = inference_graph_from_session(model_dir, new_model_dir, shapes, compiler_workdir=compiler_workdir, **kwargs)
    return {"OnNeuronRatio": ratio}


compile = convert_to_inference_model  # noqa: A001  # its name there
