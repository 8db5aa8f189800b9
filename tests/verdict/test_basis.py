"""What makes one doubt a verdict."""

from dataclasses import replace

from sweep.spec import Record
from sweep.spec.facts import ScoreFacts
from sweep.verdict import basis
from tests.support.records import THROUGHPUT, make_record


def judged(batch: int, processor: str) -> Record:
    score = ScoreFacts(64, 64, key=processor, processor=processor)
    return replace(make_record(batch=batch), score=score, machine="Xeon, 2 CPUs")


def test_answers_from_processors_with_other_features_are_named() -> None:
    same, other = judged(1, "Xeon (avx2)"), judged(2, "Xeon (avx2 avx512_vnni)")
    text = basis.describe_doubts(same, [same, other], THROUGHPUT)
    assert "their answers are from processors with other features: Xeon (avx2) and Xeon (avx2 avx512_vnni)." in text
    assert "processors" not in basis.describe_doubts(same, [same, judged(2, "Xeon (avx2)")], THROUGHPUT)
