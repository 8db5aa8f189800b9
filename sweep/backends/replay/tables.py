"""Tables of results that others published: CSV files with the same columns, one result a row.

The tables that come with sweep lie in `published/`, whose README.md explains the columns and names the sources. A table
is read whole or not at all. An empty cell means: not stated.
"""

import csv
import functools
import io
import json
import math
import re
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Tuple, Union, get_type_hints

from sweep.spec import BuildSpec, FailureKind, Json, Status, UserError, digest, from_json, meant, to_json
from sweep.spec.facts import SourceFacts

FOLDER = Path(__file__).resolve().parent / "published"
REQUIRED = ("model", "instance", "stack", "status", "source")
_DATE = re.compile(r"\d{4}(-\d\d(-\d\d)?)?")
# Columns that identify a result: no two rows of a table agree in all of them.
_IDENTITY = (
    *("model", "shape", "instance", "stack", "versions", "precision", "batch", "cores", "replicas"),
    *("request_batch", "in_flight", "source", "date", "note"),
)


@dataclass(frozen=True)
class Row:
    """One published result. None: not stated. Latencies are of one request of `request_batch` items."""

    line: int  # in the file, for messages
    model: str
    instance: str  # as AWS spells it, in small letters: "inf1.xlarge"; an attached accelerator follows a plus
    stack: str  # the name of our backend where there is one: "tensorflow_neuron"
    status: Status
    source: str
    shape: Optional[str] = None  # of one item, where it is needed to compare: "224x224", "s128"
    versions: Optional[str] = None
    precision: Optional[str] = None  # that the device computed in
    batch: Optional[int] = None  # compiled
    cores: Optional[int] = None  # of one copy
    replicas: Optional[int] = None
    request_batch: Optional[int] = None  # what one request held, items
    in_flight: Optional[float] = None  # requests at the same time
    failure_kind: Optional[FailureKind] = None
    reason: Optional[str] = None  # one line, for every status but ok
    log: Optional[str] = None  # what the tool printed, lines separated by " | "
    build_seconds: Optional[float] = None
    placement: Optional[float] = None  # share of the operators on the device
    throughput_items_per_s: Optional[float] = None  # the figure that was published
    throughput_recomputed_items_per_s: Optional[float] = None  # items / prediction_seconds, where that is known
    throughput_std_items_per_s: Optional[float] = None
    latency_ms_mean: Optional[float] = None
    latency_ms_p50: Optional[float] = None
    latency_ms_p90: Optional[float] = None
    latency_ms_p95: Optional[float] = None
    latency_ms_p99: Optional[float] = None
    latency_ms_min: Optional[float] = None
    latency_ms_max: Optional[float] = None
    first_request_ms: Optional[float] = None
    ttft_ms_p50: Optional[float] = None  # time to first token
    ttft_ms_p99: Optional[float] = None
    tpot_ms_p50: Optional[float] = None  # time per output token
    tpot_ms_p99: Optional[float] = None
    accuracy: Optional[float] = None  # shares of one, not percentages
    reference_accuracy: Optional[float] = None
    agreement: Optional[float] = None
    top1_probability: Optional[float] = None
    items: Optional[int] = None  # that were answered
    item: Optional[str] = None  # image | inference | token
    prediction_seconds: Optional[float] = None
    wall_seconds: Optional[float] = None
    usd_per_hour: Optional[float] = None
    flops_per_item: Optional[float] = None  # multiplications and additions counted one each
    date: Optional[str] = None  # YYYY, YYYY-MM or YYYY-MM-DD
    mistakes: Tuple[str, ...] = ()  # ids of `mistakes()`
    note: Optional[str] = None

    @property
    def key(self) -> str:
        """Names the result, not its numbers: a corrected table keeps it."""
        return digest([getattr(self, name) for name in _IDENTITY])

    @property
    def hardware(self) -> str:
        """The name of the declared hardware type that stands for the instance, where there is one."""
        return re.sub(r"\W", "_", self.instance)

    @property
    def rate(self) -> Optional[float]:
        """Items a second by the right definition where the source allows it, else the published figure."""
        return self.throughput_recomputed_items_per_s or self.throughput_items_per_s

    @property
    def metrics(self) -> Dict[str, float]:
        """The numbers that a trial has, too, as far as they are stated."""
        return {name: float(value) for name in METRICS if (value := getattr(self, name)) is not None}

    def source_facts(self, table: str) -> SourceFacts:
        """Where this result comes from. `table` is the file with the line."""
        return SourceFacts(self.source, self.date or "not stated", self.mistakes, table, self.to_json())

    def to_json(self) -> Json:
        """The values that are stated, without the line."""
        plain: Json = to_json(self)
        return {name: value for name, value in plain.items() if name != "line" and value not in (None, [])}


COLUMNS = tuple(f.name for f in fields(Row) if f.name != "line")
NUMBERS = tuple(name for name, kind in get_type_hints(Row).items() if kind in (Optional[float], Optional[int]))
_SETUP = ("batch", "cores", "replicas", "request_batch", "in_flight", "usd_per_hour", "flops_per_item", "items")
RESULTS = tuple(name for name in NUMBERS if name not in _SETUP)
METRICS = tuple(name for name in RESULTS if name not in ("placement", "prediction_seconds", "wall_seconds"))


def shipped() -> Dict[str, Path]:
    """The tables that come with sweep, by name."""
    return {path.stem: path for path in sorted(FOLDER.glob("*.csv"))}


def find(name: Union[str, Path]) -> Path:
    """Find the file of a table: a path, or the name of a shipped table with or without `published/` and `.csv`.

    Raises:
        UserError: there is none.
    """
    path = Path(name).expanduser()
    if path.is_file():
        return path
    known = shipped()
    text = str(name)
    short = text[len("published/") :] if text.startswith("published/") else text
    short = short[: -len(".csv")] if short.endswith(".csv") else short
    if short in known:
        return known[short]
    if path.is_dir():
        raise UserError("%s is a folder: name the CSV files in it" % name)
    raise UserError("no table %s: no such file, and of the shipped tables %s" % (name, meant(short, known)))


@functools.lru_cache(maxsize=None)  # functools.cache came with Python 3.9
def mistakes() -> Dict[str, str]:
    """Known mistakes of published results: sentences by id."""
    return dict(json.loads((FOLDER / "mistakes.json").read_text(encoding="utf-8")))


def digest_rows(rows: Tuple[Row, ...]) -> str:
    """A digest that is equal for tables with the same results, however they are written."""
    return digest([row.to_json() for row in rows])


def read(path: Union[str, Path]) -> Tuple[Row, ...]:
    """Read a table; all rows are checked before any is returned.

    Raises:
        UserError: with `file:line`, for the first mistake.
    """
    path = Path(path)
    reader = _Reader(path, _text(path))
    rows: List[Row] = []
    seen: Dict[str, int] = {}
    for row in reader.rows():
        if row.key in seen:
            text = "the same result as line %d: say in `note` how they differ, or remove one" % seen[row.key]
            raise reader.wrong(text, row.line)
        seen[row.key] = row.line
        rows.append(row)
    if not rows:
        raise reader.wrong("no rows below the header", 1)
    return tuple(rows)


def _text(path: Path) -> str:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError("%s: cannot be read: %s" % (path, error.strerror)) from None
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise UserError("%s:%d: not UTF-8 text: save the table as CSV UTF-8" % (path, line)) from None
    if "\0" in text:
        line = text[: text.index("\0")].count("\n") + 1
        raise UserError("%s:%d: not a text file: save the table as CSV UTF-8" % (path, line))
    if not text.strip():
        raise UserError("%s:1: the file is empty: the first line names the columns" % path)
    return text


class _Reader:
    """The lines of one table."""

    def __init__(self, path: Path, text: str) -> None:
        self._path = path
        self._lines = csv.reader(io.StringIO(text, newline=""), strict=True)
        self._hints = get_type_hints(Row)
        self._header = [name.strip() for name in next(self._cells())[1]]
        self._check_header()

    def wrong(self, text: str, line: Optional[int] = None) -> UserError:
        return UserError("%s:%d: %s" % (self._path, line or self._lines.line_num, text))

    def rows(self) -> Iterator[Row]:
        columns = len(self._header)
        for line, cells in self._cells():
            if len(cells) != columns:
                text = "%d cells where the header has %d columns: the row is not whole" % (len(cells), columns)
                raise self.wrong(text, line)
            yield self._row(line, dict(zip(self._header, (cell.strip() for cell in cells))))

    def _cells(self) -> Iterator[Tuple[int, List[str]]]:
        """The rows that hold anything, with the line on which each begins."""
        while True:
            line = self._lines.line_num + 1
            try:
                cells = next(self._lines)
            except StopIteration:
                return
            except csv.Error as error:
                raise self.wrong("not CSV (%s): is a quotation mark not closed?" % error, line) from None
            if any(cell.strip() for cell in cells):
                yield line, cells

    def _check_header(self) -> None:
        header = self._header
        if len(header) == 1 and re.search("[;\t]", header[0]):
            raise self.wrong("the columns are not separated by commas: save the table as comma-separated CSV")
        for number, name in enumerate(header):
            if name not in COLUMNS:
                raise self.wrong("no column %r: %s" % (name, meant(name, COLUMNS, listed=False)))
            if name in header[:number]:
                raise self.wrong("column %r stands there twice" % name)
        missing = [name for name in REQUIRED if name not in header]
        if missing:
            raise self.wrong("column %r is missing: every table has %s" % (missing[0], ", ".join(REQUIRED)))

    def _row(self, line: int, cells: Dict[str, str]) -> Row:
        for name in REQUIRED:
            if not cells[name]:
                raise self.wrong("%s is empty: every row has %s" % (name, ", ".join(REQUIRED)), line)
        values = {name: self._value(line, name, text) for name, text in cells.items() if text}
        row = Row(line=line, **values)
        if row.status is Status.OK and all(getattr(row, name) is None for name in RESULTS):
            raise self.wrong("ok, and not one number of a result: the row is not whole", line)
        if row.status is not Status.OK and not row.reason:
            raise self.wrong("%s without a reason: say in `reason` what happened" % row.status.value, line)
        return row

    def _value(self, line: int, name: str, text: str) -> Any:
        if name in NUMBERS:
            return self._number(line, name, text, whole=self._hints[name] == Optional[int])
        if name == "status":
            return Status(self._choice(line, name, text, [status.value for status in Status]))
        if name == "failure_kind":
            return FailureKind(self._choice(line, name, text, [kind.value for kind in FailureKind]))
        if name == "mistakes":
            words = tuple(word.strip() for word in text.split(";") if word.strip())
            return tuple(self._choice(line, name, word, mistakes()) for word in words)
        if name == "date" and not _DATE.fullmatch(text):
            raise self.wrong("date %r: write it as 2020, 2020-10 or 2020-10-18" % text, line)
        return text.lower() if name == "instance" else " ".join(text.split())

    def _choice(self, line: int, name: str, text: str, choices: Any) -> str:
        if text not in choices:
            raise self.wrong("%s %r does not exist: %s" % (name, text, meant(text, choices)), line)
        return text

    def _number(self, line: int, name: str, text: str, whole: bool) -> Union[int, float]:
        try:
            value = float(text.replace("_", "?"))  # Python reads 1_000 as a number, nobody else does
        except ValueError:
            hint = " (no thousands separators, no units)"
            raise self.wrong("%s %r is not a number%s" % (name, text, hint), line) from None
        if not math.isfinite(value):
            raise self.wrong("%s is %s: leave it empty where it is not known" % (name, text), line)
        if value < 0:
            raise self.wrong("%s is negative: %s" % (name, text), line)
        if not whole:
            return value
        if value != int(value) or value < 1:
            raise self.wrong("%s %s: a whole number of 1 or more" % (name, text), line)
        return int(value)


def read_row(spec: BuildSpec) -> Row:
    """The row that answers a build, from its options; they have no line."""
    return from_json(Row, {"line": 0, **spec.options["row"]})


def same_model(published: object, ours: object) -> bool:
    """`ResNet-50` and `resnet50` are one model, and `resnet50_keras` is a variant of it; `resnet501` is not."""
    parts = re.split(r"[\W_]+", str(ours).lower())
    wanted = simplify(published)
    return any("".join(parts[:end]) == wanted for end in range(1, len(parts) + 1))


def simplify(name: object) -> str:
    """`resnet50` for `ResNet-50`."""
    return re.sub(r"[\W_]", "", str(name).lower())
