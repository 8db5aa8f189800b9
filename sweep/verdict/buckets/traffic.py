"""The sizes of a model's inputs and how often each occurs: from a data set, a histogram or a trace.

A histogram is CSV with the columns `size,count` (or `height,width,count`: every column but `count` is a dimension, in
the model's order); a trace has `time_s,size`, one line per arrival, of which only the sizes are used.
"""

import csv
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sweep.spec import LARGEST, UserError

if TYPE_CHECKING:
    import numpy as np
_EXACT = 2.0**53  # up to here counts add up exactly
_HELP = "the first line names the columns: size,count (a histogram) or time_s,size (a trace)"


@dataclass(frozen=True, eq=False)
class Traffic:
    """Distinct sizes with weights. Made by `of` or `read`.

    sizes: (n, D) int64, the distinct sizes, ordered by their number of elements, then by dimension.
    weights: (n,) float64, how often each occurs (counts or shares), all above 0.
    """

    sizes: "np.ndarray"
    weights: "np.ndarray"

    @classmethod
    def of(
        cls, sizes: "np.ndarray | Sequence[object]", counts: "np.ndarray | Sequence[float] | None" = None
    ) -> "Traffic":
        """From the size of every item, (N,) or (N, D) whole numbers; `counts`: (N,) times that each occurs, default 1.

        Raises:
            UserError: nothing there, a size below 1, or counts that are negative, not numbers, or all 0.
        """
        import numpy as np

        given = np.asarray(sizes)
        given = given.reshape(-1, 1) if given.ndim == 1 else given
        if given.size == 0 or given.ndim != 2:
            raise UserError("the traffic is empty: give at least one size")
        if given.dtype.kind not in "iu":
            raise UserError(f"sizes must be whole numbers, not {given.dtype}")
        if given.min() < 1 or given.max() > LARGEST:
            raise UserError(f"sizes must be between 1 and {LARGEST}, not {given.min()} to {given.max()}")
        weights = np.ones(len(given)) if counts is None else np.asarray(counts, dtype=np.float64)
        if weights.shape != (len(given),) or not np.isfinite(weights).all() or weights.min() < 0:
            raise UserError("counts must be one number per size, none of them negative")
        if not 0 < weights.sum() <= _EXACT:
            raise UserError("the counts add up to 0 or to more than 2^53: give how often each size occurs")
        distinct, number = np.unique(given[weights > 0].astype(np.int64), axis=0, return_inverse=True)
        summed = np.bincount(number.ravel(), weights[weights > 0])
        order = np.argsort(units(distinct), kind="stable")
        return cls(distinct[order], summed[order])

    @classmethod
    def read(cls, path: Path | str) -> "Traffic":
        """From a CSV histogram or a CSV trace; the header says which.

        Raises:
            UserError: the file cannot be read or a line of it is wrong: one line, with file and line number.
        """
        path = Path(path).expanduser()
        try:
            text = path.read_text(encoding="utf-8-sig")
        except OSError as error:
            raise UserError(f"cannot read {path}: {error.strerror}: give a CSV file; {_HELP}") from None
        except UnicodeDecodeError:
            raise UserError(f"{path}: not UTF-8 text: save it as CSV UTF-8") from None
        if "\0" in text:
            raise UserError(f"{path}: not a text file: save it as CSV UTF-8")
        return _Table(path, text).traffic()

    @property
    def dimensions(self) -> int:
        return int(self.sizes.shape[1])

    @property
    def largest(self) -> tuple[int, ...]:
        """The smallest shape that every size fits in."""
        return tuple(int(size) for size in self.sizes.max(axis=0))

    @property
    def ordered(self) -> bool:
        """Whether each size fits in the next: always so in one dimension."""
        return bool((self.sizes[1:] >= self.sizes[:-1]).all())


def units(shapes: "np.ndarray") -> "np.ndarray":
    """Elements of each shape along the bucket dimensions: (n, D) whole numbers -> (n,) float64."""
    import numpy as np

    product: np.ndarray = np.asarray(shapes, dtype=np.float64).prod(axis=1)
    return product


class _Table:
    """The lines of one CSV file."""

    def __init__(self, path: Path, text: str) -> None:
        self._path, self._text = path, text

    def traffic(self) -> Traffic:
        lines = self._cells()
        line, header = next(lines, (1, []))
        names = [name.lower() for name in header]
        if not names:
            raise self._wrong(line, f"the file is empty: {_HELP}")
        known = [name for name in ("count", "time_s") if name in names]
        if len(known) != 1 or len(names) < 2 or len(set(names)) < len(names) or not all(names):
            raise self._wrong(line, f"the columns are {', '.join(header)}: {_HELP}")
        extra, is_trace = names.index(known[0]), known == ["time_s"]
        sizes, counts = [], []
        for line, cells in lines:
            if len(cells) != len(names):
                raise self._wrong(line, f"{len(cells)} cells where the header has {len(names)}: the line is not whole")
            number = self._number(line, known[0], cells.pop(extra))
            sizes.append([self._size(line, cell) for cell in cells])
            counts.append(1.0 if is_trace else number)
        if sum(counts) <= 0:
            raise self._wrong(line, "no size with a count above 0" if counts else "no lines behind the header")
        try:
            return Traffic.of(sizes, counts)
        except UserError as error:
            raise UserError(f"{self._path}: {error}") from None

    def _wrong(self, line: int, text: str) -> UserError:
        return UserError(f"{self._path}:{line}: {text}")

    def _cells(self) -> Iterator[tuple[int, list[str]]]:
        """Lines that hold anything; "#" begins a comment."""
        rows = csv.reader(self._text.splitlines(), strict=True)
        try:
            for cells in rows:
                stripped = [cell.strip() for cell in cells]
                if any(stripped) and not stripped[0].startswith("#"):
                    yield rows.line_num, stripped
        except csv.Error as error:
            raise self._wrong(rows.line_num, f"not CSV ({error}): is a quotation mark not closed?") from None

    def _number(self, line: int, name: str, text: str) -> float:
        try:
            number = float(text)
        except ValueError:
            number = math.nan
        if not math.isfinite(number):
            raise self._wrong(line, f"{name} {text!r} is not a number")
        if number < 0:
            raise self._wrong(line, f"{name} {text} is negative")
        return number

    def _size(self, line: int, text: str) -> int:
        if not (text.isascii() and text.isdigit()):
            what = "is negative" if text.startswith("-") else "is not a whole number"
            raise self._wrong(line, f"size {text!r} {what}: sizes are 1 or more")
        if len(text) > 18 or not 1 <= int(text) <= LARGEST:
            raise self._wrong(line, f"size {text} is not between 1 and {LARGEST}")
        return int(text)
