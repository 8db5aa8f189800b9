"""Do embeddings still say which samples are alike? Every output of many numbers a sample is taken for one."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

EMBEDDING_WIDTH = 16  # numbers a sample from which an output is taken for an embedding
NEIGHBOURS = 10  # of each sample
NEIGHBOUR_SAMPLES = 2000  # are compared at most, evenly spread: the work grows with their square
ALIKE = 1e-6  # difference of cosines that rounding alone can make: nearer than that is equally near


def neighbour_overlap(reference: "Array", candidate: "Array", neighbours: int = NEIGHBOURS) -> float | None:
    """The share of each sample's nearest neighbours in the candidate that are among its nearest in the reference.

    Args:
        reference, candidate: embeddings (samples, values) of the same samples.
        neighbours: how many of each sample are looked at, by cosine, itself left out. What is as near as the last of
            the reference's counts too, so that samples that stand twice cost nothing.

    Returns:
        The mean over samples, 0 to 1. 1 for embeddings that were turned or stretched together; two that have nothing to
        do with each other have about neighbours / (samples - 1). None for fewer than neighbours + 2 samples, of which
        all would be neighbours, and where a value is not finite.
    """
    import numpy as np

    step = -(-len(reference) // NEIGHBOUR_SAMPLES) if len(reference) else 1
    a, b = _units(reference[::step]), _units(candidate[::step])
    if len(a) < neighbours + 2 or not (np.isfinite(a).all() and np.isfinite(b).all()):
        return None
    of_reference, of_candidate = a @ a.T, b @ b.T
    for cosines in (of_reference, of_candidate):
        np.fill_diagonal(cosines, -np.inf)
    last = np.partition(of_reference, -neighbours, axis=1)[:, -neighbours]
    theirs = np.argpartition(of_candidate, -neighbours, axis=1)[:, -neighbours:]
    return float((np.take_along_axis(of_reference, theirs, axis=1) >= last[:, None] - ALIKE).mean())


def find_worst_overlap(references: "list[Array]", candidates: "list[Array]", task: str) -> float | None:
    """The overlap of the worst embedding; None where no output is one, or one is not finite."""
    first = 1 if task == "classification" else 0  # the logits are no embedding, however many classes there are
    overlaps = [
        neighbour_overlap(a, b)
        for a, b in zip(references[first:], candidates[first:], strict=True)
        if a.ndim == 2 and a.dtype.kind == "f" and a.shape[1] >= EMBEDDING_WIDTH
    ]
    known = [share for share in overlaps if share is not None]
    return min(known) if known and len(known) == len(overlaps) else None


def _units(array: "Array") -> "Array":
    """Rows scaled to length 1; what is 0 stays it."""
    import numpy as np

    rows = array.astype(np.float64)
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(norms > 0, norms, 1.0)
