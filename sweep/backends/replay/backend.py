"""Published results in the place of a device: builds and measurements are answered from a table, nothing is run.

A trial is looked up by its model, hardware, precision, batch, cores, replicas and request_batch, and by what the
options say; exactly one row must be left. What a row does not state fits everything. An instance whose size (`inf1`)
or host (`eia2.xlarge`) the row does not name stands for every hardware type that it can be a part of.

The row becomes a part of the build's specification, so a corrected table is another build. The module `answers`
answers. Where an option is not set, the model may say it (`model.published`).
"""

import re
from dataclasses import dataclass
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

from sweep.backends.base import Backend, Runner, Source
from sweep.backends.options import Options
from sweep.backends.replay import tables
from sweep.backends.replay.tables import Row
from sweep.spec import BuildInfo, BuildSpec, Json, Origin, Placement, Trial, UserError, to_json
from sweep.spec.declared import rules_of, setting

NEAREST = 3  # rows that are named where none fits
_SETTINGS = ("precision", "batch", "cores", "replicas", "request_batch")
_TELLING = ("stack", "status", "date", "versions", "source", "note")  # columns that a person can choose by, best first
_Tables = Tuple[Tuple[str, Row], ...]
_read: Dict[Tuple[str, int], Tuple[Row, ...]] = {}


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


class Replay(Backend):
    name = "replay"
    options_type = ReplayOptions
    options: ReplayOptions
    precisions = ("fp32", "bf16", "fp16", "int8")
    formats = ()  # it takes no model: a table speaks of one by its name
    devices = ("replay",)
    compiles_cores = True  # a row is about one number of cores
    origin = Origin.REPLAYED
    concurrent = True  # `runs` says which loads a table has
    preload_build = ("numpy",)
    preload_run = ("numpy",)
    build_entry = "sweep.backends.replay.answers:build"
    measure_entry = "sweep.backends.replay.answers:measure"

    @classmethod
    def supports(cls, spec: BuildSpec) -> Optional[str]:
        if spec.precision not in cls.precisions:
            return "replay has no %s: it has %s" % (spec.precision, ", ".join(cls.precisions))
        if spec.device not in cls.devices:
            return "replay has no device %s: it has %s" % (spec.device, ", ".join(cls.devices))
        return None

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
        rows = _matching(trial)
        if len(rows) == 1:
            row = rows[0][1]
            if row.status.was_tried and row.status.is_finished:  # others say that nothing came out
                return None
            return "%s has no result: %s: %s" % (_place(rows[0]), row.status.value, row.reason)
        return _several(rows) if rows else _none(trial)

    @classmethod
    def build_options(cls, trial: Trial) -> Json:
        """The row that answers, if it is exactly one; `unavailable` says why otherwise."""
        rows = _matching(trial)
        return {"row": rows[0][1].to_json(), "found_in": rows[0][0]} if len(rows) == 1 else {}

    def probe(self) -> Json:
        return {"versions": {}, "devices": list(self.devices)}

    def build(self, source: Source, spec: BuildSpec, folder: Any) -> BuildInfo:
        raise UserError("replay builds nothing: sweep.backends.replay.answers answers")

    def load(self, folder: Any, spec: BuildSpec, placement: Placement, source: Source) -> Runner:
        raise UserError("replay loads nothing: sweep.backends.replay.answers answers")


def _matching(trial: Trial) -> List[Tuple[str, Row]]:
    """The rows that may answer a trial, as (table, row)."""
    options = _options(trial)
    where = options.get("where") or {}
    _check(where)
    rows = [place for place in _rows(options.get("table")) if _same(place[1].model, trial.model["name"])]
    for name, value in _asked(trial).items():
        rows = [place for place in rows if getattr(place[1], name) in (None, value)]
    for name, text in where.items():
        rows = [place for place in rows if _says(getattr(place[1], name), str(text))]
    stack = options.get("stack")
    if stack is not None:
        whole = [place for place in rows if place[1].stack == stack]
        rows = whole or [place for place in rows if _says(place[1].stack, str(stack))]
    return rows if "instance" in where else _of_hardware(rows, trial.hardware)


def _options(trial: Trial) -> Json:
    """What is set, else what the model says of itself."""
    given = trial.backend.get("options") or {}
    own = trial.model.get("published") or {}
    return {name: given.get(name) or own.get(name) for name in OPTIONS}


def _asked(trial: Trial) -> Dict[str, Any]:
    values = {name: getattr(trial, name) for name in _SETTINGS}
    return {**values, "request_batch": trial.request_items}


def _check(where: Mapping[str, Any]) -> None:
    for name in where:
        if name not in tables.COLUMNS:
            raise UserError("backend.options.where: a table has no column %s: it has %s" % (name, ", ".join(_TELLING)))


def _rows(name: Optional[str]) -> _Tables:
    paths = [tables.find(name)] if name else list(tables.shipped().values())
    return tuple((path.stem, row) for path in paths for row in _table(str(path), path.stat().st_mtime_ns))


def _table(path: str, changed: int) -> Tuple[Row, ...]:
    """A table is read once, and again when the file is another one."""
    key = (path, changed)
    if key not in _read:
        _read[key] = tables.read(path)
    return _read[key]


def _same(name: Any, other: Any) -> bool:
    """`ResNet-50` and `resnet50` are the same model."""
    return re.sub(r"\W|_", "", str(name).lower()) == re.sub(r"\W|_", "", str(other).lower())


def _of_hardware(rows: Sequence[Tuple[str, Row]], hardware: Mapping[str, Any]) -> List[Tuple[str, Row]]:
    """Rows of this hardware type; where there are none, rows whose instance is told in part only."""
    name = str(hardware.get("name"))
    named = [(re.sub("(^|_)ml_", r"\1", row.hardware), (table, row)) for table, row in rows]  # as SageMaker has them
    whole = [place for text, place in named if text == name]
    partly = [place for text, place in named if name.startswith(text + "_") or name.endswith("_" + text)]
    return whole or partly


def _says(value: Any, text: str) -> bool:
    """Whether a cell is this number, or has this text in it; an empty cell has none."""
    if text.startswith("!"):
        return not _says(value, text[1:])
    if value is None:
        return False
    if isinstance(value, (int, float)) and not isinstance(value, str):
        return str(value) == text or "%g" % value == text
    plain = to_json(value)
    return text.lower() in (";".join(plain) if isinstance(plain, list) else str(plain)).lower()


def _several(rows: Sequence[Tuple[str, Row]]) -> str:
    """Rows that all fit: by which column they can be told apart."""
    for name in ("table", *_TELLING):
        texts = [table if name == "table" else _cell(row, name) for table, row in rows]
        if len(set(texts)) == len(texts):
            break
    else:
        return "%d rows fit and no column tells them all apart: %s; choose one with backend.options.where={...}" % (
            len(rows),
            ", ".join(_place(place) for place in rows[:NEAREST]),
        )
    how = "backend.options.%s" % name if name in OPTIONS else "backend.options.where={%s: ...}" % name
    shown = ", ".join(repr(text) for text in _what_differs(texts)[: 2 * NEAREST])
    return "%d rows fit, %s tells them apart: choose one with %s like %s" % (len(rows), name, how, shown)


def _none(trial: Trial) -> str:
    """What was asked for, and the rows that are nearest to it."""
    options = _options(trial)
    where = "table %s" % options["table"] if options.get("table") else "the tables that come with sweep"
    wanted = {**_asked(trial), "hardware": trial.hardware.get("name"), "stack": options.get("stack")}
    wanted = {name: value for name, value in wanted.items() if value is not None}
    what = _told(wanted)
    rows = [place for place in _rows(options.get("table")) if _same(place[1].model, trial.model["name"])]
    if not rows:
        models = sorted({row.model for _, row in _rows(options.get("table"))})
        known = ", ".join(models[:8]) + (", ..." if len(models) > 8 else "")
        return "no row of %s is about model %s: there are %s" % (where, trial.model["name"], known)
    places: Dict[str, str] = {}
    for place in sorted(rows, key=lambda place: len(_differences(place[1], wanted))):
        text = _told(_differences(place[1], wanted)) or "all of that, but not what `where` says"
        places.setdefault(text, _place(place))
    near = ["%s (%s)" % item for item in list(places.items())[:NEAREST]]
    return "no row of %s for %s %s; the nearest have %s" % (where, trial.model["name"], what, ", or ".join(near))


def _differences(row: Row, wanted: Mapping[str, Any]) -> Json:
    """What a row has otherwise than asked for."""
    settings = {name: getattr(row, name) for name in wanted if name in _SETTINGS}
    found = {name: have for name, have in settings.items() if have not in (None, wanted[name])}
    if not _of_hardware([("", row)], {"name": wanted["hardware"]}):
        found["instance"] = row.instance
    if "stack" in wanted and not _says(row.stack, str(wanted["stack"])):
        found["stack"] = row.stack
    return found


def _told(values: Mapping[str, Any]) -> str:
    return " ".join("%s=%s" % item for item in values.items())


def _place(place: Tuple[str, Row]) -> str:
    return "%s:%d" % (place[0], place[1].line)


def _cell(row: Row, name: str) -> str:
    return str(to_json(getattr(row, name)) or "")


def _what_differs(texts: Sequence[str]) -> List[str]:
    """Without the words with which all begin, or end."""
    words = [text.split() for text in texts]
    while all(len(each) > 1 for each in words) and len({each[0] for each in words}) == 1:
        words = [each[1:] for each in words]
    while all(len(each) > 1 for each in words) and len({each[-1] for each in words}) == 1:
        words = [each[:-1] for each in words]
    return [" ".join(each) for each in words]
