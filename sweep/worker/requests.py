"""From stored data to the source of a build, and to the requests of a replica.

Worker side, Python 3.8.
"""

from pathlib import Path
from typing import Callable, Dict, Iterator, NamedTuple, Optional, Sequence, Tuple, Union

import numpy as np

from sweep import backends, workloads
from sweep.backends.base import Arrays, Backend, Runner, Source
from sweep.spec import BuildSpec, FailureKind, Placement, TrialError, UserError
from sweep.spec.requests import BuildRequest, MeasureRequest, Padding
from sweep.worker import arrays, batching, by_size
from sweep.worker import window as measuring
from sweep.worker.copying import give_copies
from sweep.worker.load import config as load_config
from sweep.worker.load.batcher import Padded, Piecewise, Stock, Together

TOUCHED = 64  # samples that are read at once


def make_backend(request: MeasureRequest, spec: BuildSpec) -> Backend:
    """The backend with all its options; those that were compiled in go before the others."""
    return backends.get(spec.backend)({**request.options, **spec.options})


def make_source(request: Union[BuildRequest, MeasureRequest], spec: BuildSpec) -> Source:
    """What a build starts from."""
    data = _Data(request)
    first = batching.choose_examples(data.sizes, spec.bucket or None, spec.batch, data.count)
    return Source(
        load_model=lambda: workloads.load_original(dict(spec.model), tuple(data.inputs), spec.data),
        example=data.fit(first, spec.bucket or None),
        calibration=lambda: _batch_calibration(data.folder, spec, data.padding),
        input_names=tuple(data.inputs),
        dynamic=data.padding.dims if spec.bucket == () else {},
    )


def _batch_calibration(folder: Path, spec: BuildSpec, padding: Padding) -> Iterator[Arrays]:
    """Batches of the samples that fit the bucket, padded as requests are. If none fits, all are cut to it."""
    samples = arrays.read_data(folder, "calibration")
    count = len(next(iter(samples.values()))) if samples else 0
    if not count:
        raise UserError("data %s has no calibration samples, which %s needs" % (spec.data["name"], spec.precision))
    sizes = batching.find_own_sizes(samples, arrays.read_sizes(folder, "calibration"), padding)
    fitting = np.arange(count)
    if spec.bucket and sizes is not None:
        fitting = np.flatnonzero(batching.route(sizes, [spec.bucket]) == 0)
        if not len(fitting):
            fitting, sizes = np.arange(count), np.minimum(sizes, batching.widen(spec.bucket, sizes.shape[1]))
    for items in batching.make_batches(fitting, spec.batch, 0):
        yield batching.fit_samples(samples, items, batching.choose_shape(spec.bucket, sizes, items), padding, sizes)


class _Data:
    """The stored samples that a request is about."""

    def __init__(self, request: Union[BuildRequest, MeasureRequest]) -> None:
        self.folder = Path(request.data_folder)
        self.inputs = arrays.read_data(self.folder)
        self.padding = request.padding
        self.sizes = batching.find_own_sizes(self.inputs, arrays.read_sizes(self.folder), self.padding)
        self.count = len(next(iter(self.inputs.values())))
        self.scored: Optional[np.ndarray] = None  # samples that come first; None: all are scored
        if isinstance(request, MeasureRequest) and request.scored is not None:
            self.scored = np.array(request.scored, np.int64)
        self.bytes = max(1, sum(array.nbytes for array in self.inputs.values()) // self.count)  # of a stored sample

    def turn(self, share: float) -> np.ndarray:
        """All samples, from this share of them on; those that are scored first, from this share of those on."""
        every = np.arange(self.count)
        if self.scored is None:
            return np.roll(every, -int(share * self.count))
        return np.concatenate([np.roll(self.scored, -int(share * len(self.scored))), np.delete(every, self.scored)])

    def pick(self, share: float, passes: int = 1) -> np.ndarray:
        """All samples, from this share of them on; as many at random as fit into `PREPARED_BYTES` so many times."""
        fitting = max(1, measuring.PREPARED_BYTES // (passes * self.bytes))
        if self.count <= fitting:
            return self.turn(share)
        order = np.random.RandomState(int(share * self.count)).permutation(self.count)
        if self.scored is not None:
            first = np.isin(order, self.scored)
            order = np.concatenate([order[first], order[~first]])
        return order[:fitting]

    def touch(self, items: np.ndarray) -> None:
        """Read samples, so that none has to come from the disk in the timed region."""
        for some in batching.split(items, TOUCHED):
            self.fit(some, None)

    def release(self) -> None:
        """Give back the memory that the mapped samples take."""
        arrays.release_pages(self.inputs.values())

    def fit(self, items: np.ndarray, bucket: Optional[batching.Bucket]) -> Arrays:
        return batching.fit_samples(self.inputs, items, bucket, self.padding, self.sizes)


class Server(NamedTuple):
    """One replica: its loaded builds, and the data of its requests."""

    request: MeasureRequest
    specs: Sequence[BuildSpec]  # one for each bucket
    runners: Sequence[Runner]  # likewise
    memory_mb: Sequence[Optional[float]]  # likewise, that loading took; None where that cannot be known
    data: _Data
    work: "_Work"

    def stock(self, share: float, moved: Callable[[], None]) -> Stock:
        """The samples, padded so that any that have arrived can form a request.

        Args:
            share: of the data at which the first sample stands.
            moved: called after each further piece of the data that is read.
        """
        data, specs = self.data, self.specs
        whole = self.request.load.get("name") == "offline"  # all the data at once, piece by piece if it is large
        order = data.turn(share) if whole else data.pick(share)
        bucket_of = _route_samples(specs, data)
        lines = [order[bucket_of[order] == number] for number in range(len(specs))]
        most = max(self.request.batch, measuring.PREPARED_BYTES // data.bytes)
        together = [
            Piecewise(line, most, self.read(number)) if len(line) > most else self.together(number, line)
            for number, line in enumerate(lines)
        ]
        return Stock(self.runners, together, order, bucket_of, self.request.batch, self.ask, moved)

    def read(self, number: int) -> Callable[[np.ndarray], Together]:
        """What reads a piece of the samples of one bucket."""
        return lambda samples: self.together(number, samples)

    def fit(self, request: measuring.Request) -> Arrays:
        """The host arrays of a request."""
        return self._fit(request.bucket, request.items)

    def ask(self, number: int, items: np.ndarray) -> measuring.Request:
        """A request for samples of one bucket, without its inputs."""
        rows = self.request.batch
        bucket = batching.choose_shape(self.specs[number].bucket, self.data.sizes, items)
        return measuring.Request(self.runners[number], None, items, number, rows, *self.work.of(bucket, items, rows))

    def form_requests(self, share: float) -> Iterator[measuring.Request]:
        """Requests over the data in the order of sending, each in the smallest bucket that fits.

        Where the data does not fit into `PREPARED_BYTES`, they are of samples drawn at random.

        Args:
            share: of the data at which the first request begins.

        Raises:
            TrialError: if a sample fits no bucket.
        """
        room = measuring.PREPARED_BYTES
        batch = load_config.request_items(self.request.load, self.request.batch)
        if not self.specs[0].bucket or self.data.sizes is None:
            formed = [(0, some) for some in batching.make_batches(self.data.pick(share), batch, 0)]
        else:
            order = self.data.pick(share, batching.PASSES if batch > 1 else 1)
            queued = batching.queue_batches(_route_samples(self.specs, self.data)[order], batch, 0)
            formed = [(number, order[places]) for number, places in queued]
        for number, some in formed:
            arrays = self._fit(number, some)
            yield self.ask(number, some)._replace(inputs=self.runners[number].prepare(arrays))
            self.data.release()
            room -= sum(array.nbytes for array in arrays)
            if room <= 0:
                return

    def form_once(self, items: np.ndarray) -> Iterator[measuring.Request]:
        """Requests that hold each of these samples once, bucket after bucket. Inputs are made when they are needed.

        Raises:
            TrialError: if a sample fits no bucket.
        """
        chosen = _route_samples(self.specs, self.data)[items]
        for number in range(len(self.specs)):
            for some in batching.split(items[chosen == number], self.request.batch):
                yield self.ask(number, some)._replace(inputs=self.runners[number].prepare(self._fit(number, some)))

    def _fit(self, number: int, some: np.ndarray) -> Arrays:
        """The inputs of a request; a short batch is filled up with rows that do not count."""
        bucket = batching.choose_shape(self.specs[number].bucket, self.data.sizes, some)
        return self.data.fit(np.resize(some, self.request.batch), bucket)

    def together(self, number: int, samples: np.ndarray) -> Together:
        """What puts samples of one bucket together; they are padded ahead, unless the size depends on the batch."""
        bucket, data = self.specs[number].bucket, self.data
        if bucket == () and data.sizes is not None:
            data.touch(samples)
            return lambda rows: data.fit(rows, batching.choose_shape((), data.sizes, rows))
        padded = Padded(samples, data.fit(samples, bucket))
        data.release()
        return padded


def load_server(request: MeasureRequest, placement: Placement, doing: Optional[Path] = None) -> Server:
    """Load one runner for each bucket.

    Args:
        doing: see `by_size.load_builds`.
    """
    specs = [build.spec for build in request.builds]

    def load(number: int) -> Runner:
        spec, folder = specs[number], Path(request.builds[number].folder)
        runner = make_backend(request, spec).load(folder, spec, placement, make_source(request, spec))
        return give_copies(runner) if request.copy_inputs else runner

    runners, memory_mb = by_size.load_builds([spec.bucket for spec in specs], load, doing)
    data = _Data(request)
    work = _Work(data.inputs, data.sizes, data.padding, request.flops_by_size)
    return Server(request, specs, runners, memory_mb, data, work)


def _route_samples(specs: Sequence[BuildSpec], data: _Data) -> np.ndarray:
    """(N,) the number of each sample's bucket.

    Raises:
        TrialError: if a sample fits none.
    """
    if not specs[0].bucket or data.sizes is None:
        return np.zeros(data.count, np.int64)
    buckets = [spec.bucket or () for spec in specs]
    chosen = batching.route(data.sizes, buckets)
    if (chosen < 0).any():
        raise TrialError(FailureKind.SHAPE_MISMATCH, batching.describe_misfits(data.sizes, buckets))
    return chosen


class _Work:
    """Work that a request needs and work that is computed for it, in size units and in operations."""

    def __init__(
        self,
        inputs: Dict[str, np.ndarray],
        sizes: Optional[np.ndarray],
        padding: Padding,
        flops_by_size: Sequence[Tuple[Sequence[int], float]],
    ) -> None:
        self._sizes = sizes if padding.dims else None
        self._stored = tuple(int(size) for size in batching.find_stored_size(inputs, padding)) if padding.dims else ()
        self._flops = flops_by_size if len(flops_by_size) > 1 else ()  # one size says nothing of others

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
            own = float(workloads.interpolate_flops(self._flops, areas).sum())
            flops = (own, rows * float(workloads.interpolate_flops(self._flops, np.array([padded]))[0]))
        return whole, (int(areas.sum()), rows * padded), flops
