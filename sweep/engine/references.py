"""First phase: write the data as arrays and the answers of the original model, once for each (model, data) pair.

A model or data that cannot be loaded fails here, before anything is built.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from sweep import backends, files
from sweep.engine.context import Context
from sweep.spec import Failure, Status, Trial, UserError, from_json
from sweep.spec.facts import BindingFacts, NatureFacts, ReferenceInfo
from sweep.spec.requests import Padding, ReferenceRequest
from sweep.text import list_some

if TYPE_CHECKING:
    import numpy as np

NO_TORCH = ("numpy", "onnx", "keras", "saved_model")  # model formats that are read without torch


@dataclass(frozen=True)
class Reference:
    """A data set in the store, the original model's answers to it, and facts about the model."""

    model: str  # digest of the model's content
    data: str  # digest of the data's content
    key: str
    data_folder: Path
    folder: Path
    items: int = 0  # samples in the data
    seconds_per_item: float | None = None  # CPU time of the original model; None: not known
    flops_per_item: float | None = None
    flops_by_size: tuple[tuple[tuple[int, ...], float], ...] = ()
    binding: BindingFacts | None = None
    weights: str = ""  # see `ReferenceInfo`
    batch: int | None = None  # see `ReferenceInfo`
    nature: NatureFacts = field(default_factory=NatureFacts)


@dataclass(frozen=True)
class Unusable:
    """Why a (model, data) pair cannot be used."""

    status: Status
    failure: Failure


def obtain(context: Context, trials: Sequence[Trial]) -> dict[str, Reference | Unusable]:
    """Load or compute the references of all trials, in parallel; by `Trial.pair_key`."""
    _make_roots(context.store.root)
    pairs = {trial.pair_key: trial for trial in trials}
    counted = {t.pair_key for t in trials if _counts_flops(t)}
    context.display.begin("reference", len(pairs))
    with ThreadPoolExecutor(max(1, min(len(pairs), 2))) as pool:
        futures = {key: pool.submit(_obtain, context, trial, key in counted) for key, trial in pairs.items()}
        loaded = {key: future.result() for key, future in futures.items()}
    context.display.end()
    return loaded


def _make_roots(store: Path) -> None:
    """Make the folders that workers write data and answers into.

    Raises:
        UserError: they cannot be made.
    """
    try:
        for name in ("data", "reference"):
            (store / name).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(files.describe_write_error(error, store)) from error


def list_preloads(trial: Trial) -> tuple[str, ...]:
    """Modules that the fork server imports ahead. The server for builds is used if it has what the model needs."""
    if str(trial.model.get("format") or "module") in NO_TORCH:
        return ("numpy",)
    building = () if trial.backend.get("python") else backends.get(str(trial.backend["name"])).preload_build
    return building if "torch" in building else ("torch",)


def explain_misfit(trial: Trial, reference: Reference) -> str | None:
    """Say why a trial cannot be one of this model and these data; None if it can."""
    if trial.precision == "int8" and "int8" in reference.weights:
        return (
            f"model {trial.model['name']} is int8 already, and is not quantised twice: precision=fp32 runs it as it is"
        )
    fixed = reference.batch
    if fixed and trial.batch != fixed and not _can_reshape(trial):
        return f"model {trial.model['name']} takes {fixed} samples at once and no other number: use batch={fixed}"
    return _explain_buckets(trial, reference)


def _can_reshape(trial: Trial) -> bool:
    """Whether the backend may give a file another size than it declares."""
    return trial.backend["name"] == "openvino" and trial.model.get("format") == "onnx"


def _explain_buckets(trial: Trial, reference: Reference) -> str | None:
    """Say why the buckets do not hold all inputs; None if they do. Inputs are never cut."""
    if not trial.buckets or trial.bucket_word:
        return None
    from sweep.worker import batching

    sizes = load_sizes(trial, reference.data_folder)
    assert sizes is not None, "a rule has refused buckets for models without a bucket dimension"
    fits = batching.route(sizes, trial.buckets) >= 0
    return None if fits.all() else batching.describe_misfits(sizes, trial.buckets)


def load_sizes(trial: Trial, data_folder: Path) -> "np.ndarray | None":
    """Size of each sample along the model's bucket dimensions, (N, D); None if the model has no such dimensions.

    Args:
        data_folder: of the data, in the store.
    """
    from sweep.worker import arrays, batching

    padding = Padding.of(trial.model)
    return batching.find_own_sizes(arrays.read_data(data_folder), arrays.read_sizes(data_folder), padding)


def _counts_flops(trial: Trial) -> bool:
    """Whether operations are counted: the hardware has a known peak, or padding costs operations."""
    known_peak = (trial.hardware.get("peak_flops") or {}).get(trial.precision) is not None
    return known_peak or bool(trial.model.get("bucket_dims"))


def _obtain(context: Context, trial: Trial, count_flops: bool) -> Reference | Unusable:
    data_root, reference_root = context.store.root / "data", context.store.root / "reference"
    request = ReferenceRequest(trial.model, trial.data, str(data_root), str(reference_root), flops=count_flops)
    name = f"{trial.model['name']}-{trial.data['name']}"
    outcome = context.run(
        request,
        "references",
        name,
        seconds=context.settings.limits.reference_seconds,
        memory_mb=context.settings.limits.build_memory_mb,
        python=trial.model.get("python"),
        preload=list_preloads(trial),
        watched=True,
    )
    if outcome.failure is not None or outcome.result is None:
        context.display.advance(f"{name}: failed", failed=True)
        assert outcome.failure is not None, "there is no result"
        return Unusable(Status.INVALID if outcome.user_error else Status.BUILD_FAILED, outcome.failure)
    info = from_json(ReferenceInfo, outcome.result)
    context.ledger.append("reference", pair=trial.pair_key, seconds=outcome.seconds, result=info)
    context.display.advance(name)
    for line in _list_notes(info, widened=trial.model.get("widen") is not False):
        context.display.note(f"{name}: {line}")
    return Reference(
        info.model,
        info.data,
        info.reference,
        data_root / info.data,
        reference_root / info.reference,
        items=info.items,
        seconds_per_item=info.seconds_per_item,
        flops_per_item=info.flops_per_item,
        flops_by_size=info.flops_by_size,
        binding=info.binding,
        weights=info.weights,
        batch=info.batch,
        nature=info.nature,
    )


def _list_notes(info: ReferenceInfo, widened: bool) -> list[str]:
    """What a person has to know about a model and its data, a line each."""
    lines = []
    if info.changed:
        lines.append("the model answers otherwise than an earlier one of its identity, so nothing of that one is used")
    if nature := info.nature.describe():
        lines.append(f"the original model itself {nature}")
    if info.opaque:
        text = "parts of the model are hidden from its identity, so a few of its answers are compared at each sweep"
        lines.append(f"{text}: {list_some(info.opaque, 3)}")
    if info.binding is not None and info.binding.notable:
        lines.append(_explain_binding(info.binding))
    if info.weights:
        how = "the reference computes in fp32" if widened and info.weights != "int8" else "it stays so"
        lines.append(f"the original is {info.weights}; {how}")
    return [*lines, info.warning] if info.warning else lines


def _explain_binding(binding: BindingFacts) -> str:
    """Which array goes to which input, and why, where that may be a mistake."""
    crossed = any(name != own and name in binding.inputs.values() for name, own in binding.inputs.items())
    several = len(binding.inputs) > 1
    why = "no array has the name of an input, so they go by position: " if binding.by == "position" and several else ""
    if binding.by == "list" and crossed:
        why = "a list of inputs sends arrays to others than those of their names: "
    return f"{why or 'inputs: '}{binding.describe()}"
