"""What runs inside a worker process: `probe`, `reference`, `build`, `score` and `measure`.

Each takes the JSON of a request (see `requests`) and the task's own folder, and returns what `spec.to_json` can write.
Files that belong to the answer are left in the folder. A failure with a known reason is raised as `TrialError`, a
mistake of the user as `UserError`; the caller classifies everything else from its text.
"""

import functools
import json
import os
import shutil
import sys
import traceback
from dataclasses import replace
from pathlib import Path
from typing import Any, Callable, ContextManager, Iterator, List, Mapping, Optional, Tuple

from sweep import backends, workloads
from sweep.spec import (
    BuildInfo,
    Json,
    Measurement,
    Measurements,
    digest,
    from_json,
    installed,
    to_json,
)
from sweep.spec.facts import BindingFacts, NatureFacts, ReferenceInfo, ScoreFacts
from sweep.spec.requests import (
    BuildRequest,
    MeasureRequest,
    MetricsRequest,
    ProbeRequest,
    ReferenceRequest,
    ScoreRequest,
    TogetherRequest,
    VersionsRequest,
)
from sweep.spec.user_code import running
from sweep.worker import (
    answers,
    arrays,
    data_sets,
    nature,
    rating,
    repeat,
    replicas,
    requests,
    scoring,
    variants,
    window,
)
from sweep.worker.progress import Progress
from sweep.worker.replicas import Copy


def probe(request: Json, folder: Path) -> Json:
    """Versions and devices of one backend, as this interpreter has them."""
    wanted = from_json(ProbeRequest, request)
    return backends.get(wanted.backend)(wanted.options).probe()


def versions(request: Json, folder: Path) -> Json:
    """Versions of distributions in this interpreter, None for those that are missing, without importing them."""
    return {"versions": installed.versions(from_json(VersionsRequest, request).packages)}


def reference(request: Json, folder: Path) -> ReferenceInfo:
    """Put the data and the answers of the original model (fp32, eager) into the store, unless they are there already.

    Samples are answered without padding, as `bucket_dims` of the model and the sizes of the data define it.
    """
    wanted = from_json(ReferenceRequest, request)
    toolchain = installed.versions(workloads.packages(wanted.model))
    _note_versions(folder, {name: version for name, version in toolchain.items() if version})
    with running("model %s or data %s" % (wanted.model.get("name"), wanted.data.get("name"))):
        return _refer(wanted, folder, toolchain)


def _refer(wanted: ReferenceRequest, folder: Path, toolchain: Mapping[str, Optional[str]]) -> ReferenceInfo:
    progress, dims = Progress(folder), wanted.model.get("bucket_dims")
    dataset, model, identity, data_key, binding, weights = _load_workload(wanted, progress)
    root, samples = Path(wanted.reference_root), nature.choose_samples(dataset, dims)
    asked = () if identity.sealed else nature.ask(model, samples)
    of = {"model": identity.key, "data": data_key, "bucket_dims": dims}

    def obtain(variant: variants.Variant) -> Tuple[str, Json]:
        sized = [] if dataset.sizes is None else [dims]
        key = digest([variant.key(identity.key), data_key, toolchain, *sized])
        claim = functools.partial(variants.claim, of=of, variant=variant, answers=asked)
        return key, answers.obtain_answers(key, model, dataset, dims, root, progress, wanted.data, claim)

    variant, reference_key, facts = variants.obtain(root, of, asked, obtain)
    stored = root / reference_key
    arrays.check_class_axis(stored, wanted.data)
    rating.check_original(wanted.data, Path(wanted.data_root, data_key), stored)
    own = arrays.read_or_write(
        stored / nature.FACTS, lambda: to_json(nature.inspect(model, samples, list(dataset.inputs), stored))
    )
    flops: List[Any] = []
    if wanted.flops:
        flops = arrays.read_or_write(stored / "flops.json", lambda: _count_flops(model, dataset, dims))
    return ReferenceInfo(
        model=variant.key(identity.key),
        data=data_key,
        reference=reference_key,
        items=len(next(iter(dataset.inputs.values()))),
        inputs={name: {"shape": list(a.shape), "dtype": str(a.dtype)} for name, a in dataset.inputs.items()},
        versions=toolchain,
        outputs=facts["outputs"],
        binding=binding,
        weights=weights,
        batch=facts.get("batch"),
        nature=from_json(NatureFacts, own),
        opaque=identity.opaque,
        changed=variant.changed,
        warning=facts.get("warning") or "",
        flops_per_item=workloads.average_flops(flops, dataset.sizes),
        flops_by_size=tuple((tuple(size), count) for size, count in flops),
        seconds_per_item=facts.get("seconds_per_item"),
    )


def _load_workload(
    request: ReferenceRequest, progress: Progress
) -> Tuple[workloads.Dataset, Any, workloads.Identity, str, BindingFacts, str]:
    """The data in the order of the model's inputs, the model, the identities of both, which array goes where, and the
    type of the model's weights."""
    original = workloads.load_model(request.model)
    identity = workloads.identify(original, str(request.model.get("_target_", "")))
    weights = workloads.describe_weights(original)
    handled = workloads.handle(original, request.model)
    dims, name = request.model.get("bucket_dims"), str(request.data.get("name"))
    bindings: List[BindingFacts] = []

    def read() -> Iterator[workloads.Dataset]:
        loaded = workloads.load_pieces(request.data)
        for piece, facts in workloads.bind_pieces(handled, request.model, loaded, request.data):
            bindings[:] = [facts]
            yield piece

    root = Path(request.data_root)
    data_key = data_sets.obtain_data(request.data, read, root, progress)
    dataset = arrays.open_data(root / data_key)
    workloads.check_fit(dataset.sizes, dataset.inputs, dims, name)
    workloads.check_fit(dataset.calibration_sizes, dataset.calibration, dims, name + ": calibration")
    model = workloads.wrap_call(handled, request.model, list(dataset.inputs), request.data)
    handling = workloads.read_handling(request.model).describe()
    if model is not handled:  # the same arrays by position have other answers, which may be stored
        identity = identity._replace(key=digest([identity.key, list(dataset.inputs)]))
    if handling or (weights and weights != "int8"):  # earlier versions stored answers of half precision
        identity = identity._replace(key=digest([identity.key, handling, weights]))
    return dataset, model, identity, data_key, bindings[0], weights


def _count_flops(model: Any, dataset: workloads.Dataset, dims: Optional[workloads.Dims]) -> List[Any]:
    """Operations by size; none if counting fails, which must not spoil the rest."""
    try:
        return workloads.count_flops_by_size(model, dataset, dims)
    except Exception:
        traceback.print_exc()
        return []


def build(request: Json, folder: Path) -> BuildInfo:
    """One build, into the folder that the request names."""
    wanted = from_json(BuildRequest, request)
    spec, artifact = wanted.spec, Path(wanted.artifact)
    _note_versions(folder, wanted.toolchain)
    try:
        return backends.get(spec.backend)(spec.options).build(requests.make_source(wanted, spec), spec, artifact)
    except Exception:
        _empty(artifact)  # worthless now, and on a full disk the reason needs the room
        raise


def score(request: Json, folder: Path) -> ScoreFacts:
    """One pass over the data with the builds of a trial; see `scoring.score` for the files that it leaves."""
    wanted = from_json(ScoreRequest, request)
    _note_versions(folder, wanted.trial.toolchain)
    return scoring.score(wanted, folder)


def rate(request: Json, folder: Path) -> Json:
    """The metrics of `data.metrics` of a build's answers and of the original's."""
    return rating.rate(from_json(MetricsRequest, request))


def measure(request: Json, folder: Path) -> Measurement:
    """One repeat of a trial: all its replicas, each in a process or thread of its own, over one common window.

    Leaves samples.npz (start_ns, end_ns, replica, items and bucket of every request; of open loads also due_ns and
    done_ns of every item) and outputs.npz (index, output_0, ...) in the folder.
    """
    begin = window.clock()
    wanted = from_json(MeasureRequest, request)
    os.environ["SWEEP_REPEAT"] = str(wanted.repeat)
    _note_versions(folder, wanted.toolchain)
    copies = _list_copies(wanted, folder, folder)
    with _watch(wanted, folder) as facts:
        if len(copies) == 1:
            parts = [repeat.measure_replica(copies[0], lambda: None, None)]
        elif wanted.process.copies == "threads":
            parts = replicas.run_in_threads(copies, repeat.measure_replica)
        else:
            parts = replicas.run(copies, repeat.measure_replica)
    return replace(repeat.combine(wanted, folder, parts, facts()), own_seconds=(window.clock() - begin) / 1e9)


def measure_together(request: Json, folder: Path) -> Measurements:
    """One repeat of several trials side by side, loaded one after the other.

    Leaves what `measure` leaves in `member-0/`, `member-1/`, ...; the result has one part a member.
    """
    begin = window.clock()
    members = from_json(TogetherRequest, request).members
    os.environ["SWEEP_REPEAT"] = str(members[0].repeat)
    _note_versions(folder, {name: text for member in members for name, text in member.toolchain.items()})
    folders = [folder / ("member-%d" % number) for number in range(len(members))]
    copies: List[Copy] = []
    for member, own in zip(members, folders):
        own.mkdir(exist_ok=True)
        copies += _list_copies(member, own, folder)
    with _watch(members[0], folder) as facts:
        parts = replicas.run(copies, repeat.measure_replica, one_by_one=True)
    results = []
    for member, own in zip(members, folders):
        mine = [part for part, copy in zip(parts, copies) if copy.folder == own]
        results.append(repeat.combine(member, own, mine, facts()))
    seconds = (window.clock() - begin) / 1e9
    results = [replace(result, own_seconds=seconds) for result in results]
    return Measurements(tuple(results))


def _list_copies(request: MeasureRequest, folder: Path, task: Path) -> List[Copy]:
    common = repeat.make_shared(request)
    return [Copy(request, folder, number, place, common, task) for number, place in enumerate(request.placements)]


def _watch(request: MeasureRequest, folder: Path) -> ContextManager[Callable[[], Json]]:
    return requests.make_backend(request, request.builds[0].spec).watch(folder)


def _note_versions(folder: Path, versions: Mapping[str, str]) -> None:
    """Written before anything can fail, so that the record of a crash has its versions too."""
    python = ".".join(map(str, sys.version_info[:3]))
    (folder / "versions.json").write_text(json.dumps({"python": python, **versions}))


def _empty(folder: Path) -> None:
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(str(path), ignore_errors=True)
        else:
            path.unlink()
