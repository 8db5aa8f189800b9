"""From stored data to what a build starts from, and to the requests that a replica is asked.

Worker side, Python 3.8.
"""

from pathlib import Path
from typing import Dict, Iterator, List, Optional, Sequence, Tuple

import numpy as np

from sweep import backends, batching, by_bucket, materials, workloads
from sweep import measure as measuring
from sweep.backends.base import Arrays, Backend, Runner, Source
from sweep.spec import BuildSpec, FailureKind, Json, Placement, TrialError, UserError, from_json

Prepared = Tuple[List[measuring.Request], List[Optional[float]]]


def runner_backend(request: Json, spec: BuildSpec) -> Backend:
    """The backend with all its options, not only those that were compiled in; what was compiled stands."""
    return backends.get(spec.backend)({**request["options"], **spec.options})


def source(request: Json, spec: BuildSpec) -> Source:
    """What a build starts from. Request: data_folder, bucket_dims, pad_value, pad_side."""
    folder = Path(request["data_folder"])
    inputs = materials.read_data(folder)
    sizes, shape = _own_sizes(request, inputs), batching.Shape.of(request)
    first = batching.fitting(sizes, spec.bucket or None, spec.batch, len(next(iter(inputs.values()))))
    return Source(
        load_model=lambda: workloads.load_model(dict(spec.model)),
        example=batching.fitted(inputs, first, spec.bucket or None, shape, sizes),
        calibration=lambda: _calibration(folder, spec, shape),
        input_names=tuple(inputs),
        dynamic=shape.dims if spec.bucket == () else {},
    )


def _calibration(folder: Path, spec: BuildSpec, shape: batching.Shape) -> Iterator[Arrays]:
    """Batches of the samples that fit the bucket, padded as requests are. Where none fits, all are cut to it."""
    samples = materials.read_data(folder, "calibration")
    count = len(next(iter(samples.values()))) if samples else 0
    if not count:
        raise UserError("data %s has no calibration samples, which %s needs" % (spec.data["name"], spec.precision))
    sizes = batching.own_sizes(samples, materials.read_sizes(folder, "calibration"), shape)
    fitting = np.arange(count)
    if spec.bucket and sizes is not None:
        fitting = np.flatnonzero(batching.route(sizes, [spec.bucket]) == 0)
        if not len(fitting):
            fitting, sizes = np.arange(count), np.minimum(sizes, batching.widen(spec.bucket, sizes.shape[1]))
    for items in batching.batches(fitting, spec.batch, 0):
        yield batching.fitted(samples, items, batching.needed(spec.bucket, sizes, items), shape, sizes)


def prepared(request: Json, placement: Placement, share: float, doing: Optional[Path] = None) -> Prepared:
    """Load one runner per bucket and prepare requests over the data, each in the smallest bucket that fits.

    Args:
        share: of the data at which the first request begins.
        doing: see `by_bucket.load`.

    Returns:
        the requests, and what loading each build took in MB.
    """
    specs = [from_json(BuildSpec, entry["spec"]) for entry in request["builds"]]

    def one(number: int) -> Runner:
        spec, folder = specs[number], Path(request["builds"][number]["folder"])
        return runner_backend(request, spec).load(folder, spec, placement, source(request, spec))

    loaded = by_bucket.load([spec.bucket for spec in specs], one, doing)
    inputs = materials.read_data(Path(request["data_folder"]))
    sizes, shape = _own_sizes(request, inputs), batching.Shape.of(request)
    work = _Work(inputs, sizes, shape, request.get("flops_by_size") or [])
    requests: List[measuring.Request] = []
    room = measuring.PREPARED_BYTES
    for number, some in _formed(request, specs, sizes, len(next(iter(inputs.values()))), share):
        rows = np.resize(some, request["batch"])  # a short batch is filled up; what fills it counts for nothing
        bucket = batching.needed(specs[number].bucket, sizes, some)
        arrays = batching.fitted(inputs, rows, bucket, shape, sizes)
        room -= sum(array.nbytes for array in arrays)
        inner = loaded.runners[number].prepare(arrays)
        requests.append(
            measuring.Request(loaded.runners[number], inner, some, number, len(rows), *work.of(bucket, some, len(rows)))
        )
        if room <= 0:
            break
    return requests, loaded.memory_mb


def _formed(
    request: Json, specs: Sequence[BuildSpec], sizes: Optional[np.ndarray], count: int, share: float
) -> List[Tuple[int, np.ndarray]]:
    """(number of the bucket, samples) of every request, in the order in which they are sent.

    Raises:
        TrialError: for samples that fit no bucket.
    """
    offset = int(share * count)
    if not specs[0].bucket or sizes is None:
        return [(0, some) for some in batching.batches(np.arange(count), request["batch"], offset)]
    chosen = batching.route(sizes, [spec.bucket or () for spec in specs])
    if (chosen < 0).any():
        raise TrialError(FailureKind.SHAPE_MISMATCH, batching.too_large(sizes, [spec.bucket or () for spec in specs]))
    return batching.in_order(chosen, request["batch"], offset)


class _Work:
    """What a request asks for and what is computed for it, in size units and in operations."""

    def __init__(
        self,
        inputs: Dict[str, np.ndarray],
        sizes: Optional[np.ndarray],
        shape: batching.Shape,
        flops_by_size: List[Tuple[List[int], float]],
    ) -> None:
        self._sizes = sizes if shape.dims else None
        self._stored = tuple(int(size) for size in batching.stored_size(inputs, shape)) if shape.dims else ()
        # One size alone says nothing of others
        self._flops = flops_by_size if len(flops_by_size) > 1 else []

    def of(
        self, bucket: Optional[Tuple[int, ...]], items: np.ndarray, rows: int
    ) -> Tuple[Tuple[int, ...], Tuple[int, int], Tuple[float, float]]:
        """The padded size, elements and operations of the items themselves and of all rows; () and 0 if unknown."""
        if self._sizes is None:
            return (), (0, 0), (0.0, 0.0)
        whole = self._stored if bucket is None else batching.widen(bucket, len(self._stored))
        areas, padded = self._sizes[items].prod(axis=1), int(np.prod(whole))
        flops = (0.0, 0.0)
        if self._flops:
            own = float(workloads.flops_at(self._flops, areas).sum())
            flops = (own, rows * float(workloads.flops_at(self._flops, np.array([padded]))[0]))
        return whole, (int(areas.sum()), rows * padded), flops


def _own_sizes(request: Json, inputs: Dict[str, np.ndarray]) -> Optional[np.ndarray]:
    stored = materials.read_sizes(Path(request["data_folder"]))
    return batching.own_sizes(inputs, stored, batching.Shape.of(request))
