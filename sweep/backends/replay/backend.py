"""Published results in the place of a device: builds and measurements are answered from a table, nothing is run.

A trial is looked up by its model, hardware, precision, batch, cores, replicas and request_batch, and by the options;
exactly one row must be left. What a row does not state fits everything. If a row names an instance without its size
(`inf1`) or host (`eia2.xlarge`), it stands for all hardware types that the name is a part of.

The row becomes a part of the build's specification, so a corrected table is another build. The module `answers`
answers. A model may set the options, too (`model.published`).
"""

import functools
import re
from dataclasses import dataclass
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from sweep.backends.base import Backend, Runner, Source
from sweep.backends.options import Options
from sweep.backends.replay import tables
from sweep.backends.replay.tables import Row
from sweep.spec import BuildInfo, BuildSpec, Json, Origin, Placement, Trial, UserError, to_json
from sweep.spec.declared import rules_of, setting

NEAREST = 3  # rows that are named where none fits
_SETTINGS = ("precision", "batch", "cores", "replicas", "request_batch")
_DISTINGUISHING = ("stack", "status", "date", "versions", "source", "note")  # columns to choose a row by, best first


@dataclass(frozen=True)
class ReplayOptions(Options):
    table: Optional[str] = setting(
        None,
        "a table that comes with sweep, or the path of a CSV file of the same columns; null: all that come",
        compile_time=False,
    )
    stack: Optional[str] = setting(
        None, "the row's stack, whole or a part of it: tensorflow, neuronx; null: any", compile_time=False
    )
    where: Optional[Mapping[str, Any]] = setting(
        {},
        'other columns that tell rows apart, whole or a part: {date: 2020-10-20}; "!text" is without it',
        compile_time=False,
    )


OPTIONS = tuple(rules_of(ReplayOptions))


class Place(NamedTuple):
    """A row and the table in which it stands."""

    table: str
    row: Row

    def __str__(self) -> str:
        return "%s:%d" % (self.table, self.row.line)


class Replay(Backend):
    name = "replay"
    options_type = ReplayOptions
    options: ReplayOptions
    precisions = ("fp32", "bf16", "fp16", "int8")
    formats = ()  # it takes no model: a table speaks of one by its name
    devices = ("replay",)
    compiles_cores = True  # a row is about one number of cores
    origin = Origin.REPLAYED
    obeys = ()  # nothing runs
    concurrent = True  # `runs` says which loads a table has
    preload_build = ("numpy",)
    preload_run = ("numpy",)
    build_entry = "sweep.backends.replay.answers:build"
    measure_entry = "sweep.backends.replay.answers:measure"

    @classmethod
    def runs(cls, trial: Trial) -> Optional[str]:
        if trial.load.get("name", "saturate") != "saturate" or trial.load.get("concurrency", 1) > 1:
            return "replay answers from a table that has no other load: use load=saturate"
        if trial.buckets:
            return "replay has no buckets: no table has results of several input shapes together; leave buckets=[]"
        if trial.deployment:
            return "replay has no deployments: no table has results of trials side by side; use another backend"
        return None

    @classmethod
    def unavailable(cls, trial: Trial) -> Optional[str]:
        places = _find_rows(trial)
        if len(places) != 1:
            return _explain_several(places) if places else _explain_none(trial)
        row = places[0].row
        if row.status.was_tried and row.status.is_finished:
            return None
        return "%s has no result: %s: %s" % (places[0], row.status.value, row.reason)

    @classmethod
    def build_options(cls, trial: Trial) -> Json:
        """The row that answers, if exactly one does; else `unavailable` says why."""
        places = _find_rows(trial)
        return {"row": places[0].row.to_json(), "found_in": places[0].table} if len(places) == 1 else {}

    def probe(self) -> Json:
        return {"versions": {}, "devices": list(self.devices)}

    def build(self, source: Source, spec: BuildSpec, folder: Any) -> BuildInfo:
        raise UserError("replay builds nothing: sweep.backends.replay.answers answers")

    def load(self, folder: Any, spec: BuildSpec, placement: Placement, source: Source) -> Runner:
        raise UserError("replay loads nothing: sweep.backends.replay.answers answers")


def _find_rows(trial: Trial) -> List[Place]:
    """The rows that may answer a trial."""
    options = _merge_options(trial)
    where = options["where"] or {}
    for name in where:
        if name not in tables.COLUMNS:
            text = "backend.options.where: a table has no column %s: it has %s"
            raise UserError(text % (name, ", ".join(_DISTINGUISHING)))
    places = [place for place in _load_rows(options["table"]) if _is_same(place.row.model, trial.model["name"])]
    for name, value in _list_settings(trial).items():
        places = [place for place in places if getattr(place.row, name) in (None, value)]
    for name, text in where.items():
        places = [place for place in places if _holds(getattr(place.row, name), str(text))]
    stack = options["stack"]
    if stack is not None:
        whole = [place for place in places if place.row.stack == stack]
        places = whole or [place for place in places if _holds(place.row.stack, str(stack))]
    return places if "instance" in where else _select_hardware(places, trial.hardware.get("name"))


def _merge_options(trial: Trial) -> Json:
    """The options of the trial, and where it sets none those that its model names."""
    options, own = trial.backend.get("options") or {}, trial.model.get("published") or {}
    return {name: options.get(name) or own.get(name) for name in OPTIONS}


def _list_settings(trial: Trial) -> Dict[str, Any]:
    """The settings of a trial by which a row is found."""
    return {**{name: getattr(trial, name) for name in _SETTINGS}, "request_batch": trial.request_items}


def _load_rows(name: Optional[str]) -> List[Place]:
    paths = [tables.find(name)] if name else tables.shipped().values()
    return [Place(path.stem, row) for path in paths for row in _read_table(str(path), path.stat().st_mtime_ns)]


@functools.lru_cache(maxsize=None)
def _read_table(path: str, changed: int) -> Tuple[Row, ...]:
    """Read a table once, and again when the file has changed."""
    return tables.read(path)


def _is_same(name: Any, other: Any) -> bool:
    """`ResNet-50` and `resnet50` are the same model."""
    return tables.simplify(name) == tables.simplify(other)


def _select_hardware(places: Sequence[Place], name: Any) -> List[Place]:
    """The rows of this hardware type; if there are none, the rows that name a part of its instance."""
    named = [(re.sub("(^|_)ml_", r"\1", place.row.hardware), place) for place in places]  # SageMaker's begin with ml
    whole = [place for text, place in named if text == name]
    return whole or [
        place for text, place in named if str(name).startswith(text + "_") or str(name).endswith("_" + text)
    ]


def _holds(value: Any, text: str) -> bool:
    """Whether a cell is this number, or has this text in it; an empty cell has none."""
    if text.startswith("!"):
        return not _holds(value, text[1:])
    if value is None:
        return False
    if isinstance(value, (int, float)):
        return text in (str(value), "%g" % value)
    plain = to_json(value)
    return text.lower() in (";".join(plain) if isinstance(plain, list) else str(plain)).lower()


def _explain_several(places: Sequence[Place]) -> str:
    """Which column distinguishes the rows that fit."""
    for name in ("table", *_DISTINGUISHING):
        texts = [place.table if name == "table" else str(to_json(getattr(place.row, name)) or "") for place in places]
        if len(set(texts)) == len(texts):
            break
    else:
        return "%d rows fit and no column tells them all apart: %s; choose one with backend.options.where={...}" % (
            len(places),
            ", ".join(map(str, places[:NEAREST])),
        )
    how = "backend.options.%s" % name if name in OPTIONS else "backend.options.where={%s: ...}" % name
    shown = ", ".join(repr(text) for text in _strip_common_words(texts)[: 2 * NEAREST])
    return "%d rows fit, %s tells them apart: choose one with %s like %s" % (len(places), name, how, shown)


def _explain_none(trial: Trial) -> str:
    """What no row has, and the rows that are nearest to it."""
    options = _merge_options(trial)
    where = "table %s" % options["table"] if options["table"] else "the tables that come with sweep"
    rows = _load_rows(options["table"])
    places = [place for place in rows if _is_same(place.row.model, trial.model["name"])]
    if not places:
        models = sorted({place.row.model for place in rows})
        known = ", ".join(models[:8]) + (", ..." if len(models) > 8 else "")
        return "no row of %s is about model %s: there are %s" % (where, trial.model["name"], known)
    wanted = {**_list_settings(trial), "hardware": trial.hardware.get("name"), "stack": options["stack"]}
    wanted = {name: value for name, value in wanted.items() if value is not None}
    nearest: Dict[str, Place] = {}
    differing = [(_compare(place, wanted), place) for place in places]
    for differences, place in sorted(differing, key=lambda pair: len(pair[0])):
        nearest.setdefault(_format_settings(differences) or "all of that, but not what `where` says", place)
    near = ["%s (%s)" % item for item in list(nearest.items())[:NEAREST]]
    what = _format_settings(wanted)
    return "no row of %s for %s %s; the nearest have %s" % (where, trial.model["name"], what, ", or ".join(near))


def _compare(place: Place, wanted: Mapping[str, Any]) -> Json:
    """The settings in which a row differs."""
    row = place.row
    differences = {name: getattr(row, name) for name in wanted if name in _SETTINGS}
    differences = {name: have for name, have in differences.items() if have not in (None, wanted[name])}
    if not _select_hardware([place], wanted["hardware"]):
        differences["instance"] = row.instance
    if "stack" in wanted and not _holds(row.stack, str(wanted["stack"])):
        differences["stack"] = row.stack
    return differences


def _format_settings(values: Mapping[str, Any]) -> str:
    return " ".join("%s=%s" % item for item in values.items())


def _strip_common_words(texts: Sequence[str]) -> List[str]:
    """The texts without the words with which all of them begin or end."""
    rows = [text.split() for text in texts]
    for end in (0, -1):
        while all(len(words) > 1 for words in rows) and len({words[end] for words in rows}) == 1:
            for words in rows:
                del words[end]
    return [" ".join(words) for words in rows]
