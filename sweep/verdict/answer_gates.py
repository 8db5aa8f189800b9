"""The gates about answers: is every output of a build still what the original model gives?

Each names the output and the numbers. Values of each output come from `stats.outputs`.
"""

from collections.abc import Mapping
from typing import Any

from sweep.spec import Failure, FailureKind
from sweep.text import number, percent
from sweep.verdict.evidence import Evidence, Gate
from sweep.verdict.stats import intervals


def finite(evidence: Evidence) -> Failure | None:
    """NaN or infinity where the original model gives numbers."""
    if evidence.comparison.get("finite") is True:
        return None
    outputs = evidence.outputs
    bad = [facts for facts in outputs if not facts["finite"]] if len(outputs) > 1 else []
    which = f"{_name(evidence, bad[0])} holds" if bad else f"outputs of {evidence.samples} samples hold"
    text = f"{which} NaN or infinity where the original model gives numbers"
    advice = f"{evidence.precision} may overflow, try a precision with a wider range"
    return Failure(FailureKind.NUMERICAL_ERROR, f"{text}: {evidence.instead_of_advice or advice}")


def numbers(evidence: Evidence) -> Failure | None:
    """Answers that the original does not give itself cannot be compared."""
    empty = [facts for facts in evidence.outputs if not facts.get("known", 1)]
    if not empty:
        return None
    text = (
        f"the original model itself answers NaN or infinity to all {evidence.samples:,} samples in "
        f"{_name(evidence, empty[0])}, so that nothing can be compared: correct the model or its inputs"
    )
    return Failure(FailureKind.NUMERICAL_ERROR, text)


def _name(evidence: Evidence, facts: Mapping[str, Any]) -> str:
    """An output, by number and by name where it has one; the only one without its number."""
    name = f" ({facts['name']})" if facts.get("name") else ""
    return f"output {facts['output']}{name}" if len(evidence.outputs) > 1 or name else "the output"


def varies(evidence: Evidence) -> Failure | None:
    """A build that answers the same whatever it is asked is fast and useless."""
    if evidence.comparison.get("varies") is not False:
        return None
    text = (
        f"outputs do not depend on the inputs: they are the same for all {evidence.samples} samples, and the original "
        "model's are not"
    )
    advice = "look for constant folding or an input that is not connected"
    return Failure(FailureKind.WRONG_OUTPUT, f"{text}; {evidence.instead_of_advice or advice}")


def agreement(evidence: Evidence) -> Failure | None:
    """Rejected only when chance cannot explain it: Wilson's upper end lies below the limit of this precision."""
    limit = evidence.gates.agreement_min.get(evidence.precision)
    share, high = evidence.number("agreement"), evidence.number("agreement_high")
    if limit is None or share is None or high is None or high >= limit:
        return None
    text = (
        f"{_describe_share(evidence, share)}, at most {percent(high, 4)} allowing for chance, and "
        f"{evidence.precision} must reach {percent(limit, 4)}"
    )
    advice = evidence.instead_of_advice or _advise_wider("agreement", "_min", "lower", evidence)
    if not evidence.instead_of_advice and evidence.comparison.get("unit"):
        advice += STEPS
    return Failure(FailureKind.WRONG_OUTPUT, f"{text}: {advice}")


STEPS = (
    "; data.agree_on=step|sample says which is an answer, data.class_axis where the classes lie, data.task=regression "
    "that there are none"
)


def _describe_share(evidence: Evidence, share: float) -> str:
    """What `agreement` is a share of; of answers of several steps, the other share too."""
    steps, whole = evidence.number("step_agreement"), evidence.number("whole_agreement")
    if steps is None or whole is None:
        return f"same answer as the original model for {percent(share, 4)} of {evidence.samples} samples"
    return (
        f"same whole answer as the original model for {percent(whole, 4)} of {evidence.samples} samples, and for "
        f"{percent(steps, 4)} of their steps"
    )


def ids(evidence: Evidence) -> Failure | None:
    """Other outputs of ids (tokens, yes or no) are held to the limit of agreement, each by itself."""
    limit = evidence.gates.agreement_min.get(evidence.precision)
    equal = [facts for facts in evidence.outputs if facts.get("equal") is not None and facts.get("known")]
    if limit is None or not equal:
        return None
    worst = min(equal, key=lambda facts: float(facts["equal"]))
    high = intervals.wilson(worst["equal"] * worst["known"], worst["known"]).high
    if high is None or high >= limit:
        return None
    text = (
        f"{_name(evidence, worst)} is equal to the original model's for {percent(worst['equal'], 4)} of "
        f"{worst['known']:,} samples, at most {percent(high, 4)} allowing for chance, and {evidence.precision} must "
        f"reach {percent(limit, 4)}"
    )
    advice = evidence.instead_of_advice or _advise_wider("agreement", "_min", "lower", evidence)
    return Failure(FailureKind.WRONG_OUTPUT, f"{text}: {advice}")


def error(evidence: Evidence) -> Failure | None:
    """Every output is held by itself to an error relative to how much the original's varies: see `stats.outputs`."""
    limit = evidence.gates.relative_error_max.get(evidence.precision)
    known = [facts for facts in evidence.outputs if facts.get("relative_error") is not None]
    if limit is None or not known:
        return None
    worst = max(known, key=lambda facts: float(facts["relative_error"]))
    if worst["relative_error"] <= limit:
        return None
    text = (
        f"{_name(evidence, worst)} is off by {number(worst['relative_error'])} times the original model's spread over "
        f"the samples (99 % of {worst['known']:,} samples are within that; largest difference "
        f"{number(worst['max_abs_error'])}{_describe_scale(worst)}), and {evidence.precision} must stay within "
        f"{number(limit)}"
    )
    advice = evidence.instead_of_advice or _advise_wider("relative_error", "_max", "raise", evidence)
    return Failure(FailureKind.WRONG_OUTPUT, f"{text}: {advice}")


def _describe_scale(facts: Mapping[str, Any]) -> str:
    """Another scale, if that is all that is wrong."""
    scale = facts.get("scale")
    return "" if scale is None or 0.5 < scale < 2 else f"; all values are {number(scale)} times as large"


def cosine(evidence: Evidence) -> Failure | None:
    """The mean over the samples of the worst output: one odd sample is no reason, and agreement counts those."""
    limit = evidence.gates.cosine_min.get(evidence.precision)
    mean, least = evidence.number("cosine_mean"), evidence.number("cosine_min")
    if limit is None or mean is None or mean >= limit:
        return None
    named = (
        [facts for facts in evidence.outputs if facts.get("cosine_mean") == mean] if len(evidence.outputs) > 1 else []
    )
    text = (
        f"{_name(evidence, named[0]) + ' points' if named else 'outputs point'} elsewhere than the original model's: "
        f"mean cosine {mean:.5f}, least {least or 0:.5f}, and {evidence.precision} must reach {limit:.5f}"
    )
    advice = evidence.instead_of_advice or _advise_wider("cosine", "_min", "lower", evidence)
    return Failure(FailureKind.WRONG_OUTPUT, f"{text}: {advice}")


def _advise_wider(limit: str, side: str, change: str, evidence: Evidence) -> str:
    return (
        f"try a wider precision or better calibration data, or {change} "
        f"gates.{limit}{side}.{evidence.precision} if this is enough"
    )


ANSWERS: tuple[Gate, ...] = (finite, varies, agreement, ids, error, cosine)
