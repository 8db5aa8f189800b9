"""Gates against a model that measures better than it is: a slowed clock, more cores than its own, kept answers.

The model's code runs in the process that times it. Each gate compares what the worker says with what somebody else saw.
"""

from collections.abc import Sequence
from statistics import median

from sweep.spec import Failure, FailureKind, Measurement
from sweep.spec.facts import WitnessFacts

CLOCK_TOLERANCE = 0.02  # relative: of a window by two clocks
CLOCK_SECONDS = 0.05  # the kernel's clock counts by 0.01 s, and the process may be held up between looking at both
UNEXPLAINED_SHARE, UNEXPLAINED_SECONDS = 0.5, 5.0  # of a worker's life: its start, its imports, its end
CPU_TOLERANCE = 0.05  # relative
CPU_SECONDS = 0.05  # CPU time of other processes is counted by 0.01 s
FRESH_RATIO = 1.5  # of the latency; the change of a thousandth in the inputs does the same work
FEW_PAIRS, FRESH_RATIO_FEW = 10, 3.0  # with fewer pairs chance can do more; a table gains a slow request far more
FRESH_SHARE = 0.9  # of the pairs


def check_clock(measurements: Sequence[Measurement]) -> Failure | None:
    """The clock of a window must go as fast as the kernel's; the repeat in the middle decides."""
    judged = sorted(
        ((_clock_excess(witness), m.index, witness) for m in measurements for witness in m.witnesses),
        key=lambda row: row[:2],
    )
    if judged:
        excess, index, witness = judged[len(judged) // 2]
        if excess > 0:
            text = (
                f"repeat {index}: the window lasted {witness.own_seconds:.3g} s by the process's clock and "
                f"{witness.system_seconds or 0:.3g} s by the kernel's: code of the model or a library changes the clock"
            )
            return Failure(FailureKind.IMPLAUSIBLE_TIMING, text)
    return _check_life(measurements)


def _clock_excess(witness: WitnessFacts) -> float:
    """Seconds by which two clocks differ beyond what is allowed."""
    if witness.system_seconds is None:
        return -1.0
    longer = max(witness.own_seconds, witness.system_seconds)
    return abs(witness.own_seconds - witness.system_seconds) - CLOCK_TOLERANCE * longer - CLOCK_SECONDS


def _check_life(measurements: Sequence[Measurement]) -> Failure | None:
    """What a worker says that it took must explain what its keeper saw."""
    lives = [(m.wall_seconds, m.own_seconds) for m in measurements if m.wall_seconds and m.own_seconds is not None]
    if not lives:
        return None
    wall, own = sorted(lives, key=lambda life: life[0] - life[1])[len(lives) // 2]
    longer = own > wall * (1 + CLOCK_TOLERANCE) + CLOCK_SECONDS
    if not longer and wall - own <= UNEXPLAINED_SHARE * wall + UNEXPLAINED_SECONDS:
        return None
    text = f"a worker accounts for {own:.3g} s, its keeper saw {wall:.3g} s"
    return Failure(FailureKind.IMPLAUSIBLE_TIMING, f"{text}: code of the model or a library changes the clock")


def check_cores(measurements: Sequence[Measurement]) -> Failure | None:
    """No more CPU time than the trial's cores have, in the window and in the worker's whole life."""
    spans = []
    for m in measurements:
        spans += [(m.index, w.cpu_seconds, w.system_seconds or w.own_seconds, w.cores) for w in m.witnesses if w.cores]
        cores = sum(witness.cores for witness in m.witnesses)
        if m.cpu_seconds is not None and m.wall_seconds and cores:
            spans.append((m.index, m.cpu_seconds, m.wall_seconds, cores))
    for index, cpu, seconds, cores in spans:
        if cpu > (1 + CPU_TOLERANCE) * cores * seconds + CPU_SECONDS + CPU_TOLERANCE * cores:
            text = (
                f"repeat {index}: used {cpu:.3g} s of CPU time in {seconds:.3g} s, {cpu / seconds:.2g} cores where the "
                f"trial has {cores}: the model's code starts threads or processes on other cores"
            )
            return Failure(FailureKind.WRONG_RESOURCES, text)
    return None


def check_fresh(measurements: Sequence[Measurement]) -> Failure | None:
    """Inputs that were never sent take as long as those that were; medians over the repeats that looked."""
    looked = [m.fresh for m in measurements if m.fresh is not None and m.fresh.ratio is not None]
    if not looked:
        return None
    ratio = median(fresh.ratio or 0 for fresh in looked)
    share = median(fresh.slower_share or 0 for fresh in looked)
    limit = FRESH_RATIO if median(fresh.pairs for fresh in looked) >= FEW_PAIRS else FRESH_RATIO_FEW
    if ratio <= limit or share < FRESH_SHARE:
        return None
    seen, new = (median(getattr(fresh, name) or 0 for fresh in looked) for name in ("seen_ms", "fresh_ms"))
    text = (
        f"inputs that were sent before take {seen:.3g} ms, fresh ones {new:.3g} ms, {ratio:.3g} times as long: the "
        "model keeps answers; measure it without"
    )
    return Failure(FailureKind.KEPT_ANSWERS, text)
