"""How far every output of a build is from the original model's, each by itself.

Numbers are held against how much the original's vary over the samples: an error of 29 is large where answers vary by
15, however large the answers are. Ids (classes, tokens, yes or no) are equal or they are not. Arrays are read in blocks
of rows, so that the answers to a large data set need little memory.

Where the original has NaN or infinity, or a place does not count, there is no number to be off from.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sweep.spec import Json

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

NOISE = 1e-6  # spread over samples, as a share of the magnitude, that rounding alone can make in single precision
SCALED = 0.999  # cosine of all values of an output from which only a factor is between them
STUCK = 1e-3  # share of the reference's spread below which outputs count as not following the inputs
FLOOR = 0.1  # of the root mean square of the spreads: an element that hardly varies is held to this much
FAINT = 1e-3  # of the root mean square of the samples' lengths: what both sides answer below it points nowhere
PERCENTILE = 99.0  # of the samples' errors
PICTURE = 2  # dimensions of ids above which they are pictures, of which few are equal in every place
BLOCK = 1 << 21  # numbers that are held at once, in double precision

_UNKNOWN: Json = dict.fromkeys(
    ("finite", "varies", "relative_error", "max_abs_error", "scale", "cosine_mean", "cosine_min", "equal")
)


@dataclass
class _Moments:
    """Count, mean and sum of squared deviations of each element over the samples."""

    count: "Array"
    mean: "Array"
    squares: "Array"

    def add(self, values: "Array", known: "Array") -> None:
        """Merge a block (rows, elements), by Chan, Golub and LeVeque 1983 (The American Statistician 37:242-247)."""
        import numpy as np

        count = known.sum(axis=0)
        mean = np.where(known, values, 0.0).sum(axis=0) / np.maximum(count, 1)
        deviations = np.where(known, values - mean, 0.0)
        total, apart = np.maximum(self.count + count, 1), mean - self.mean
        self.squares += (deviations**2).sum(axis=0) + apart**2 * self.count * count / total
        self.mean += apart * count / total
        self.count += count

    @property
    def spread(self) -> "Array":
        """Standard deviation over the samples, by element."""
        import numpy as np

        return np.asarray(np.sqrt(self.squares / np.maximum(self.count, 1)))

    @property
    def varying(self) -> "Array":
        """Which elements vary by more than rounding makes, of their own magnitude and of the usual one."""
        import numpy as np

        return np.asarray(self.spread > np.maximum(self.find_noise(), NOISE * np.abs(self.mean)))

    def find_noise(self, elements: Any = ...) -> float:
        """What rounding makes of the usual magnitude of some elements. A few may be huge: masks."""
        import numpy as np

        known = np.abs(self.mean[elements])[self.count[elements] > 0]
        return NOISE * float(np.median(known)) if known.size else 0.0

    def find_mean_spread(self, elements: "Array") -> float:
        """Root mean square of the spreads of some elements, at least one."""
        import numpy as np

        return float(np.sqrt((self.spread[elements] ** 2).mean()))


def compare_output(reference: "Array", candidate: "Array", counted: "Array | None" = None, ids: bool = False) -> Json:
    """Compare one output, (samples, ...) on both sides.

    Args:
        counted: (samples, steps), False for steps that only fill up; for outputs of such a shape and more dimensions.
        ids: whole numbers that name something: they are equal or not, and have no distance.

    Returns:
        shape (of one sample), dtype (of the candidate).
        known: samples with a number of the original that counts.
        finite: no NaN or infinity where the original has numbers; if not, the distances below are None.
        varies: the candidate differs between samples beyond rounding; None if the original does not.
        relative_error: 99th percentile over the samples of the root mean square over the elements of
            (candidate - original) / spread, where the spread is the element's standard deviation over the samples. An
            element that hardly varies has a tenth of the output's mean spread, one that never varies its own magnitude.
        max_abs_error: largest |candidate - original|.
        scale: the factor between both, by least squares, where nothing but a factor is between them; else None.
        cosine_mean, cosine_min: cosine similarity of a sample; of the whole column for an output of one number, which
            has no direction. 1 where both answers are shorter than a thousandth of what the original's are: a detector
            that sees nothing answers with rounding.
        equal: share of the samples whose ids are all equal; of the ids of a picture. None for numbers.
    """
    blocks = _Blocks(reference, candidate, counted)
    facts: Json = {"shape": list(reference.shape[1:]), "dtype": str(candidate.dtype), **_UNKNOWN}
    original, build, facts["known"], facts["finite"] = blocks.measure_moments()
    facts["varies"] = _varies(original, build)
    if ids:
        facts["equal"] = blocks.measure_equality()
    elif facts["finite"]:
        facts.update(blocks.measure_distances(_list_spreads(original)))
    return facts


def _varies(original: _Moments, build: _Moments) -> bool | None:
    elements = original.varying
    if not elements.any():
        return None
    least = max(build.find_noise(elements), STUCK * original.find_mean_spread(elements))
    return build.find_mean_spread(elements) > least


def _list_spreads(original: _Moments) -> "Array":
    """What the errors of each element are divided by; 1 where the original is 0 for all samples."""
    import numpy as np

    varying, size = original.varying, np.abs(original.mean)
    if not varying.any():
        return np.full_like(size, float(np.sqrt((size**2).mean())) or 1.0)
    return np.maximum(np.where(varying, original.spread, size), FLOOR * original.find_mean_spread(varying))


class _Blocks:
    """Two arrays of the same shape, (samples, elements) in blocks of rows."""

    def __init__(self, reference: "Array", candidate: "Array", counted: "Array | None") -> None:
        self.reference, self.candidate = reference, candidate
        self.counted = counted if _fits(reference, counted) else None
        self.width = max(1, reference[0].size)

    def __iter__(self) -> "Iterator[tuple[slice, Array, Array, Array]]":
        """Rows, reference, candidate, and where the reference is a number that counts."""
        import numpy as np

        step = max(1, BLOCK // self.width)
        for begin in range(0, len(self.reference), step):
            rows = slice(begin, min(begin + step, len(self.reference)))
            # Half-precision and integer outputs must not overflow in a sum.
            a, b = (
                array[rows].reshape(-1, self.width).astype(np.float64) for array in (self.reference, self.candidate)
            )
            known = np.isfinite(a)
            if self.counted is not None:
                steps = self.counted[rows]
                known &= np.repeat(steps.reshape(len(a), -1), self.width // steps[0].size, axis=1)
            yield rows, a, b, known

    def measure_moments(self) -> tuple[_Moments, _Moments, int, bool]:
        """Of both; samples with a number of the reference; whether the candidate has numbers wherever that has."""
        import numpy as np

        original, build = (_Moments(*np.zeros((3, self.width))) for _ in range(2))
        samples, finite = 0, True
        for _, a, b, known in self:
            numbers = known & np.isfinite(b)
            original.add(a, known)
            build.add(b, numbers)
            samples += int(known.any(axis=1).sum())
            finite = finite and bool((numbers == known).all())
        return original, build, samples, finite

    def measure_equality(self) -> float:
        import numpy as np

        shares = []
        for rows, a, _, known in self:
            same = (self.reference[rows] == self.candidate[rows]).reshape(a.shape) | ~known
            shares.append(same.mean(axis=1) if self.reference.ndim > PICTURE else same.all(axis=1))
        return float(np.concatenate(shares).mean())

    def measure_distances(self, spreads: "Array") -> Json:
        import numpy as np

        largest, products = 0.0, np.zeros(3)
        errors, cosines, lengths = [], [], []
        with np.errstate(over="ignore"):  # an error of 1e300 spreads is infinite, and as wrong
            for _, a, b, known in self:
                a, b = np.where(known, a, 0.0), np.where(known, b, 0.0)
                off = b - a
                largest = max(largest, float(np.abs(off).max()))
                mean_square = ((off / spreads) ** 2).sum(axis=1) / np.maximum(known.sum(axis=1), 1)
                errors.append(np.sqrt(mean_square)[known.any(axis=1)])
                products += np.array([(a * b).sum(), (a * a).sum(), (b * b).sum()])
                if self.width > 1:
                    cosines.append(_cosine(a, b))
                    lengths.append(np.stack([np.linalg.norm(array, axis=1) for array in (a, b)]))
        every = np.concatenate(errors)
        if self.width == 1:
            cosine = _column_cosine(*products)
        else:
            cosine = _ignore_faint(np.concatenate(cosines), *np.concatenate(lengths, axis=1))
        return {
            "relative_error": float(np.percentile(every, PERCENTILE)) if every.size else None,
            "max_abs_error": largest,
            "scale": _find_scale(*products),
            "cosine_mean": float(cosine.mean()),
            "cosine_min": float(cosine.min()),
        }


def _fits(array: "Array", counted: "Array | None") -> bool:
    """Whether an output has the steps of a mask; numbers need one more: a row may be as long by chance."""
    if counted is None or array.shape[: counted.ndim] != counted.shape:
        return False
    return array.ndim > counted.ndim or array.dtype.kind in "iub"


def _cosine(a: "Array", b: "Array") -> "Array":
    """Cosine similarity of each row; two zero rows are alike, a zero row is like nothing else."""
    import numpy as np

    norm_a, norm_b = np.linalg.norm(a, axis=1), np.linalg.norm(b, axis=1)
    # Scaled before the product, so that neither tiny nor huge outputs leave the range of a double.
    unit_a = a / np.where(norm_a > 0, norm_a, 1.0)[:, None]
    unit_b = b / np.where(norm_b > 0, norm_b, 1.0)[:, None]
    cosine = np.clip(np.einsum("ij,ij->i", unit_a, unit_b), -1.0, 1.0)
    return np.where((norm_a == 0) & (norm_b == 0), 1.0, cosine)


def _ignore_faint(cosine: "Array", length_a: "Array", length_b: "Array") -> "Array":
    """Cosines by sample, 1 where both sides are much shorter than the reference's samples are together."""
    import numpy as np

    least = FAINT * float(np.sqrt((length_a**2).mean()))
    return np.where((length_a <= least) & (length_b <= least), 1.0, cosine)


def _column_cosine(product: float, square_a: float, square_b: float) -> "Array":
    import numpy as np

    if square_a == 0 or square_b == 0:
        return np.array([float(square_a == square_b)])
    return np.array([np.clip(product / square_a**0.5 / square_b**0.5, -1.0, 1.0)])


def _find_scale(product: float, square_a: float, square_b: float) -> float | None:
    cosine = float(_column_cosine(product, square_a, square_b)[0])
    return float(product / square_a) if square_a > 0 and cosine > SCALED else None


def are_ids(array: "Array", is_first: bool, task: str) -> bool:
    """Whether an output holds ids, not numbers: yes or no, classes, and whole numbers of 4 bytes and more.

    Shorter whole numbers beside a classification's first output are pictures or quantised values.
    """
    if array.dtype.kind == "b" or (is_first and task == "classification" and array.dtype.kind in "iu"):
        return True
    return array.dtype.kind in "iu" and array.dtype.itemsize >= 4


def summarize(outputs: "Sequence[Json]") -> Json:
    """The worst of all outputs: finite, varies, max_abs_error, relative_error, cosine_mean, cosine_min."""
    varies = [facts["varies"] for facts in outputs if facts["varies"] is not None]
    result: Json = {"finite": all(facts["finite"] for facts in outputs), "varies": all(varies) if varies else None}
    for name, worst in (("max_abs_error", max), ("relative_error", max), ("cosine_mean", min), ("cosine_min", min)):
        values = [facts[name] for facts in outputs if facts[name] is not None]
        result[name] = worst(values) if values and result["finite"] else None
    return result
