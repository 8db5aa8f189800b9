"""Recorded arrivals: a CSV file with a column `time_s`, one line an item. Worker side, Python 3.8, standard library.

Only the times are used; other columns may stand beside them (`time_s,size` is also a trace for `bucketing.traffic`).
The items sent are the data of the trial.
"""

import csv
import hashlib
import math
from pathlib import Path
from typing import Iterator, List, NamedTuple, Tuple

from sweep.spec import UserError

COLUMN = "time_s"


class Trace(NamedTuple):
    """Moments in seconds, ascending, as they stand in the file."""

    path: str  # absolute
    sha256: str  # of the file
    times_s: Tuple[float, ...]

    @property
    def seconds(self) -> float:
        """From the first arrival to the last."""
        return self.times_s[-1] - self.times_s[0]


def read(file: str) -> Trace:
    """
    Raises:
        UserError: the file cannot be read, has no arrivals, or its clock goes backwards: with file and line.
    """
    path = Path(file).expanduser().absolute()
    try:
        content = path.read_bytes()
        text = content.decode("utf-8-sig")
    except OSError as error:
        raise UserError(
            "cannot read %s: %s: give a CSV file with the column %s" % (path, error.strerror, COLUMN)
        ) from None
    except UnicodeDecodeError:
        raise UserError("%s: not UTF-8 text: save it as CSV UTF-8" % path) from None
    times: List[float] = []
    for line, cell in _cells(path, text):
        try:
            moment = float(cell)
        except ValueError:
            moment = math.nan
        if not math.isfinite(moment):
            raise UserError("%s:%d: %s %r is not a number" % (path, line, COLUMN, cell))
        if times and moment < times[-1]:
            text = "%s:%d: the clock goes backwards, from %g to %g: sort the lines by %s"
            raise UserError(text % (path, line, times[-1], moment, COLUMN))
        times.append(moment)
    if not times:
        raise UserError("%s: the trace is empty: give at least one line behind the header %s" % (path, COLUMN))
    return Trace(str(path), hashlib.sha256(content).hexdigest(), tuple(times))


def _cells(path: Path, text: str) -> Iterator[Tuple[int, str]]:
    """(line, cell of the column) of every line that holds anything; "#" begins a comment."""
    place = -1
    rows = csv.reader(text.splitlines())
    try:
        for row in rows:
            cells = [cell.strip() for cell in row]
            if not any(cells) or cells[0].startswith("#"):
                continue
            if place < 0:
                names = [name.lower() for name in cells]
                if COLUMN not in names:
                    columns = ", ".join(cells)
                    raise UserError(
                        "%s:%d: the columns are %s: one must be %s" % (path, rows.line_num, columns, COLUMN)
                    )
                place = names.index(COLUMN)
            elif place >= len(cells):
                raise UserError("%s:%d: the line has no %s" % (path, rows.line_num, COLUMN))
            else:
                yield rows.line_num, cells[place]
    except csv.Error as error:
        raise UserError("%s:%d: not CSV (%s)" % (path, rows.line_num, error)) from None
