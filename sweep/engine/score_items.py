"""Which samples are scored: `data.score_items`. Fixed before the first build, the same for all trials of a data set.

`auto` scores all samples unless that would take too long. How long it takes is guessed from the CPU time that the
original model took for a sample, because a build on one core may be no faster than that.
"""

from collections.abc import Mapping
from typing import Any

from sweep.engine.references import Reference

SECONDS = 60.0  # of the original's CPU time that a pass may take,
ENOUGH = 1000  # or more of it, for so many samples: Wilson's interval of 99 % is 0.6 % wide to each side;
SECONDS_MAX = 600.0  # but not longer than this,
FEWEST = 64  # unless there would be fewer samples


def count_items(setting: int | str, seconds_per_item: float | None, total: int) -> int:
    """How many of the `total` samples are scored.

    Args:
        setting: `auto`, `all` or a number.
        seconds_per_item: CPU time of the original model; None: not known, then `auto` means all.
    """
    if setting == "all" or (setting == "auto" and not seconds_per_item):
        return total
    if setting != "auto" or seconds_per_item is None:
        return min(int(setting), total)
    wanted = max(SECONDS / seconds_per_item, min(ENOUGH, SECONDS_MAX / seconds_per_item), FEWEST)
    return total if wanted >= total else _round_down(wanted)


def _round_down(number: float) -> int:
    """To two digits, so that the choice looks like one."""
    whole = int(number)
    step = int("1" + "0" * max(0, len(str(whole)) - 2))
    return whole // step * step


def list_items(data: Mapping[str, Any], reference: Reference) -> tuple[int, ...] | None:
    """Numbers of the samples to score, ascending; None: all.

    The choice is random and depends on nothing but the content of the data: a larger one holds a smaller one.
    """
    import numpy as np

    total = reference.items
    count = count_items(data.get("score_items") or "auto", reference.seconds_per_item, total)
    if count >= total:
        return None
    order = np.random.default_rng(int(reference.data[:16], 16)).permutation(total)
    return tuple(sorted(order[:count].tolist()))


def describe(data: Mapping[str, Any], reference: Reference) -> str:
    """One line if not all samples are scored; empty if they are."""
    items = list_items(data, reference)
    if items is None:
        return ""
    word = data.get("score_items") or "auto"
    return (
        f"{data['name']}: agreement and accuracy are those of {len(items):,} of its {reference.items:,} samples, the "
        f"same for all trials (data.score_items={word}; all: every sample)"
    )
