"""What runs inside a worker process: `probe`, `reference`, `build` and `measure`.

Each takes the request that the engine wrote and the task's own folder, and returns plain JSON. Files that belong to the
answer are left in the folder. A failure whose reason is known is raised as `TrialError`, a mistake of the user as
`UserError`; everything else is classified from its text by whoever called.
"""

import json
import os
import shutil
import sys
import traceback
from pathlib import Path
from typing import Any, Callable, ContextManager, List, Mapping, Optional, Sequence

from sweep import backends, workloads
from sweep.isolate import procfs
from sweep.spec import BuildSpec, Json, Placement, digest, from_json, to_json
from sweep.worker import arrays, repeat, replicas, requests
from sweep.worker.replicas import Copy


def probe(request: Json, folder: Path) -> Json:
    """Versions and devices of one backend, as this interpreter has them."""
    return backends.get(request["backend"])(request["options"]).probe()


def versions(request: Json, folder: Path) -> Json:
    """Versions of distributions in this interpreter, None for those that are missing, without importing them."""
    return {"versions": installed(request["packages"])}


def installed(packages: Sequence[str]) -> Json:
    """Version of each distribution here, or None."""
    from importlib import metadata

    found: Json = {}
    for package in packages:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = None
    return found


def reference(request: Json, folder: Path) -> Json:
    """Materialise the data and the answers of the original model (fp32, eager); both are skipped where they are stored.

    Answers are to samples without padding: `bucket_dims` of the model and the sizes of the data say what that is.

    Request: model, data (configs), data_root, reference_root (folders named by digest), flops (whether to count them:
    torch's counter takes seconds to import).
    Leaves `data/` and `reference/` in the task's folder, unless their digest is in the roots already.
    """
    toolchain = installed(workloads.packages(request["model"]))
    _note_versions(folder, {name: version for name, version in toolchain.items() if version})
    dataset = workloads.load_data(request["data"])
    model = workloads.load_model(request["model"])
    dims = request["model"].get("bucket_dims")
    name = str(request["data"].get("name"))
    workloads.check_fit(dataset.sizes, dataset.inputs, dims, name)
    workloads.check_fit(dataset.calibration_sizes, dataset.calibration, dims, name + ": calibration")
    data_key = arrays.data_digest(dataset)
    model_key = workloads.model_digest(model)
    if not Path(request["data_root"], data_key).is_dir():
        arrays.write_data(dataset, folder / "data")
    reference_key = digest([model_key, data_key, toolchain, *([] if dataset.sizes is None else [dims])])
    known = Path(request["reference_root"], reference_key, "reference.json")
    facts = (
        json.loads(known.read_text())
        if known.is_file()
        else arrays.write_reference(model, dataset, dims, folder / "reference")
    )
    flops = []
    if request["flops"]:
        stored = known.parent if known.is_file() else folder / "reference"
        flops = arrays.kept(stored / "flops.json", lambda: _flops(model, dataset, dims))
    return {
        "model": model_key,
        "data": data_key,
        "reference": reference_key,
        "items": len(next(iter(dataset.inputs.values()))),
        "inputs": {name: {"shape": list(a.shape), "dtype": str(a.dtype)} for name, a in dataset.inputs.items()},
        "versions": toolchain,
        "flops_per_item": workloads.mean_flops(flops, dataset.sizes),
        "flops_by_size": flops,
        **facts,
    }


def _flops(model: Any, dataset: workloads.Dataset, dims: Optional[workloads.Dims]) -> List[Any]:
    """Operations by size; none where counting fails, which spoils nothing else."""
    try:
        return workloads.flops_by_size(model, dataset, dims)
    except Exception:
        traceback.print_exc()
        return []


def build(request: Json, folder: Path) -> Json:
    """One build. Request: spec, toolchain (versions), data_folder, bucket_dims, pad_value, artifact (a folder)."""
    spec = from_json(BuildSpec, request["spec"])
    artifact = Path(request["artifact"])
    _note_versions(folder, request.get("toolchain") or {})
    try:
        info = backends.get(spec.backend)(spec.options).build(requests.source(request, spec), spec, artifact)
    except Exception:
        _empty(artifact)  # worthless now; and where the disk is full, the reason needs the room
        raise
    return dict(to_json(info))


def measure(request: Json, folder: Path) -> Json:
    """One repeat of a trial: all its replicas, each in a process of its own, over one common window.

    Request: builds ([{spec, folder}] one per bucket), options, toolchain (versions), data_folder, bucket_dims,
    pad_value, batch (items in a request), load (config), placements (one per replica), effort, repeat, share (of the
    data at which this repeat begins), flops_by_size (what `reference` said).
    Leaves samples.npz (start_ns, end_ns, replica, items and bucket of every request; of open loads also due_ns and
    done_ns of every item) and outputs.npz (index, output_0, ...) in the folder.
    """
    os.environ["SWEEP_REPEAT"] = str(request["repeat"])
    procfs.keep_freed_memory()
    _note_versions(folder, request.get("toolchain") or {})
    copies = _copies(request, folder)
    with _watch(request, folder) as facts:
        if len(copies) == 1:
            parts = [repeat.replica(copies[0], lambda: None, None)]
        else:
            parts = replicas.run(copies, repeat.replica)
    return repeat.combined(request, folder, parts, facts())


def measure_together(request: Json, folder: Path) -> Json:
    """One repeat of several trials side by side, loaded one after the other. Request: members, requests of `measure`.

    Leaves what `measure` leaves in `member-0/`, `member-1/`, ...; the result has one part a member.
    """
    members = request["members"]
    os.environ["SWEEP_REPEAT"] = str(members[0]["repeat"])
    procfs.keep_freed_memory()
    _note_versions(folder, {name: text for each in members for name, text in (each.get("toolchain") or {}).items()})
    folders = [folder / ("member-%d" % number) for number in range(len(members))]
    copies: List[Copy] = []
    for each, own in zip(members, folders):
        own.mkdir(exist_ok=True)
        copies += _copies(each, own)
    with _watch(members[0], folder) as facts:
        parts = replicas.run(copies, repeat.replica, one_by_one=True)
    answers = []
    for each, own in zip(members, folders):
        mine = [part for part, copy in zip(parts, copies) if copy.folder == own]
        answers.append(repeat.combined(each, own, mine, facts()))
    return {"members": answers}


def _copies(request: Json, folder: Path) -> List[Copy]:
    places = [from_json(Placement, placement) for placement in request["placements"]]
    common = repeat.shared(request)
    return [Copy(request, folder, number, place, common) for number, place in enumerate(places)]


def _watch(request: Json, folder: Path) -> ContextManager[Callable[[], Json]]:
    return requests.runner_backend(request, from_json(BuildSpec, request["builds"][0]["spec"])).watch(folder)


def _note_versions(folder: Path, versions: Mapping[str, str]) -> None:
    """Said before anything can go wrong, so that a crash too is on record with what it ran on."""
    python = ".".join(map(str, sys.version_info[:3]))
    (folder / "versions.json").write_text(json.dumps({"python": python, **versions}))


def _empty(folder: Path) -> None:
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(str(path), ignore_errors=True)
        else:
            path.unlink()
