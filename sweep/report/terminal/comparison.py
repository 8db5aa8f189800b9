"""The lines that `compare` prints: agreement, which trial is right, what these counts can show, latency."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sweep.spec import Json
from sweep.text import count, number, percent, share
from sweep.verdict.stats import agreement, intervals

if TYPE_CHECKING:
    from sweep.verdict.comparison import Comparison, Item, Latency

LISTED = 20  # disagreeing items


def describe(comparison: Comparison) -> list[str]:
    """All lines of a comparison."""
    texts = [f"A  {comparison.a}", f"B  {comparison.b}", ""]
    if comparison.answered_a != comparison.common or comparison.answered_b != comparison.common:
        answered = f"A answered {comparison.answered_a:,} items, B {comparison.answered_b:,}"
        texts.append(f"{answered}, both {comparison.common:,} of them")
    texts += _agreement_lines(comparison)
    if comparison.latency is not None:
        texts.append("latency        " + _latency_words(comparison.latency, comparison.confidence))
    return texts + [f"note           {note}" for note in comparison.notes]


def describe_discordant(only_a: int, only_b: int, confidence: float = 0.95, names: tuple[str, str] = ("A", "B")) -> str:
    """Say what the items that only one of two got right show about their accuracy, and what they cannot show."""
    discordant, p = only_a + only_b, intervals.mcnemar_exact(only_a, only_b)
    if discordant == 0:
        return "both are right on exactly the same items: nothing tells their accuracies apart"
    needed = agreement.decisive(discordant, confidence)
    if needed is None:
        most = intervals.mcnemar_exact(discordant, 0)
        these = f"{discordant} discordant items cannot" if discordant > 1 else "one discordant item cannot"
        even = f"show a difference (even {discordant} v 0: p = {most:.2g})"
        return f"{only_a} v {only_b} says nothing about accuracy: {these} {even}"
    if p < 1 - confidence:
        more, less = names if only_a > only_b else names[::-1]
        return f"{only_a} v {only_b}: {more} is right more often than {less}"
    return (
        f"{only_a} v {only_b} shows no difference in accuracy: "
        f"of {discordant:,} discordant items it takes {needed:,} v {discordant - needed:,}"
    )


def _agreement_lines(comparison: Comparison) -> list[str]:
    answers, level = comparison.answers, percent(comparison.confidence)
    if answers["agreement"] is None:
        return [_numeric_words(answers, comparison.common)]
    digits = 1 if comparison.common < 1000 else 3
    ends = f"{share(answers['agreement_low'], digits)} to {share(answers['agreement_high'], digits)}"
    differ = count(len(comparison.items), "disagreement")
    agreed = share(answers["agreement"], digits)
    texts = [f"agreement      {agreed} of {comparison.common:,} items, {differ}, {level} interval {ends}"]
    if comparison.items:
        texts += ["", *_item_table(comparison.items), ""]
    if answers["accuracy"] is not None:
        accuracies = share(answers["reference_accuracy"], digits), share(answers["accuracy"], digits)
        texts.append(f"accuracy       A {accuracies[0]}, B {accuracies[1]}")
    right = answers["who_was_right"]
    if right is None:
        return texts
    only_a, only_b = right["only_reference"], right["only_candidate"]
    texts.append(
        f"who was right  both {right['both']:,}, only A {only_a:,}, only B {only_b:,}, neither {right['neither']:,}"
    )
    texts.append(f"McNemar        p = {answers['mcnemar_p']:.3g} (exact, two-sided)")
    texts.append(f"               {describe_discordant(only_a, only_b, comparison.confidence)}")
    return texts


def _item_table(items: Sequence[Item]) -> list[str]:
    known = [name for name in ("label", "original") if any(getattr(item, name) is not None for item in items)]
    shown = ["index", "a", "b", *known]
    rows = [["item" if n == "index" else n.upper() if len(n) == 1 else n for n in shown]]
    for item in items[:LISTED]:
        rows.append(["–" if (value := getattr(item, name)) is None else str(value) for name in shown])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  " + "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    return lines + ([f"  … and {len(items) - LISTED:,} more: --json has them all"] if len(items) > LISTED else [])


def _numeric_words(answers: Json, common: int) -> str:
    if not answers["finite"]:
        return f"answers        not classes, and not all of B's are finite where A's are ({common:,} items)"
    cosine = "" if answers["cosine_min"] is None else f", cosine similarity at least {answers['cosine_min']:.6f}"
    largest = "not finite" if answers["max_abs_error"] is None else f"{answers['max_abs_error']:.3g}"
    return f"answers        not classes: they differ by at most {largest}{cosine} ({common:,} items)"


def _latency_words(latency: Latency, confidence: float) -> str:
    counts = [f"n = {n:,}" if n else "on record" for n in (latency.requests_a, latency.requests_b)]
    words = f"median {number(latency.a_ms)} ms (A, {counts[0]}) and {number(latency.b_ms)} ms (B, {counts[1]}): "
    ratio, low, high, slow, fast = latency.ratio, latency.low, latency.high, "A", "B"
    if ratio < 1:
        ratio, slow, fast = 1 / ratio, "B", "A"
        low, high = (1 / high, 1 / low) if low and high else (None, None)
    words += f"{slow} takes {number(ratio)} times as long as {fast}"
    if low is None or high is None:
        return words + ", from too few repeats for an interval"
    words += f", {percent(confidence)} interval {number(low)} to {number(high)}"
    words += f" over {latency.repeats_a} and {count(latency.repeats_b, 'repeat')}"
    return words + (", which does not exclude equal" if low <= 1 <= high else "")
