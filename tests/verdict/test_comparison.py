"""`compare`: agreement, who was right, what the counts can show, latency; and what cannot be compared is one line."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweep.__main__ import run
from sweep.report.terminal import comparison
from sweep.spec import Origin
from sweep.store import query
from sweep.verdict import comparison as comparing
from sweep.verdict.stats import agreement, intervals
from tests.support.stored_sweeps import CLASSES, Member, store_known, store_sweep
from tests.sweeps.test_bad_input import one_error

ITEMS = 3000
A, B = {"backend": "torch"}, {"backend": "openvino"}


def article(outputs: Path) -> tuple[str, str]:
    """3,000 items, 4 disagreements of which each was right in 2, medians 0.05 and 0.35 s, on two hosts."""
    random = np.random.default_rng(0)
    labels = random.integers(0, CLASSES, ITEMS)
    original = labels.copy()
    original[100:250] = (original[100:250] + 1) % CLASSES
    a, b = original.copy(), original.copy()
    a[[3, 7]] = (a[[3, 7]] + 1) % CLASSES
    b[[1000, 2999]] = (b[[1000, 2999]] + 1) % CLASSES
    store_known(outputs, list(labels), list(original))
    members = [Member(A, answers=a, latencies_ms=[[49, 50, 51], [50, 50, 50]])]
    store_sweep(outputs, "20260101-inf2", members, cpu="AMD EPYC 7R13 Processor", items=ITEMS)
    members = [Member(A, answers=b, latencies_ms=[[340, 350, 360], [349, 350, 351]])]
    store_sweep(outputs, "20260102-g4dn", members, items=ITEMS)
    return "20260101", "20260102"


def compared(outputs: Path, *words: str) -> comparing.Comparison:
    found = [query.trial(outputs, word) for word in words]
    return comparing.compare(found[0], found[1], outputs)


def test_the_article_s_numbers_come_out_and_say_what_they_are_worth(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sweeps = [word for name in article(tmp_path) for word in ("--sweep", name)]
    label = "digits-torch-fp32-b1-c1"
    assert run(["compare", label, "backend=torch batch=1", *sweeps, "--outputs", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert "agreement      99.867 % of 3,000 items, 4 disagreements, 95 % interval 99.658 % to 99.948 %" in printed
    assert "who was right  both 2,846, only A 2, only B 2, neither 150" in printed
    assert "McNemar        p = 1 (exact, two-sided)" in printed
    assert (
        "2 v 2 says nothing about accuracy: 4 discordant items cannot show a difference (even 4 v 0: p = 0.12)"
    ) in printed
    assert "median 50.0 ms (A, n = 6) and 350 ms (B, n = 6): B takes 7.00 times as long as A" in printed
    assert "sweep 20260101-inf2, AMD EPYC 7R13, 2 cores" in printed
    table = [line.split() for line in printed.splitlines() if line.startswith("  ")]
    assert table[0] == ["item", "A", "B", "label", "original"]
    assert [row[0] for row in table[1:5]] == ["3", "7", "1000", "2999"]
    assert all(row[3] == row[4] for row in table[1:5]), "the original was right in all four"


def test_programs_get_everything(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sweeps = [word for name in article(tmp_path) for word in ("--sweep", name)]
    label = "digits-torch-fp32-b1-c1"
    assert run(["compare", label, label, "--json", *sweeps, "--outputs", str(tmp_path)]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["answers"]["agreement"] == pytest.approx(2996 / 3000)
    assert [item["index"] for item in found["items"]] == [3, 7, 1000, 2999]
    assert found["latency"]["ratio"] == pytest.approx(1 / 7)
    assert found["latency"]["low"] <= 1 / 7 <= found["latency"]["high"]


def test_only_common_items_count(tmp_path: Path) -> None:
    store_known(tmp_path, [0] * 8, [0] * 8)
    members = [
        Member(A, answers=[0, 0, 1, 1], index=[0, 2, 4, 6]),
        Member(B, answers=[1, 0, 0, 0], index=[1, 2, 4, 7]),
    ]
    store_sweep(tmp_path, "20260101-a", members, items=8)
    found = compared(tmp_path, "backend=torch", "backend=openvino")
    assert (found.answered_a, found.answered_b, found.common) == (4, 4, 2)
    assert found.items == (comparing.Item(4, 1, 0, 0, 0),)
    assert found.answers["who_was_right"] == {"both": 1, "only_reference": 0, "only_candidate": 1, "neither": 0}
    assert "A answered 4 items, B 4, both 2 of them" in comparison.describe(found)


def test_no_item_in_common(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    members = [Member(A, answers=[0], index=[0]), Member(B, answers=[0], index=[1])]
    store_sweep(tmp_path, "20260101-a", members)
    fails(tmp_path, capsys, "no item was answered by both")


def fails(outputs: Path, capsys: pytest.CaptureFixture[str], text: str, *words: str) -> None:
    asked = words or ("backend=torch", "backend=openvino")
    assert run(["compare", *asked, "--outputs", str(outputs)]) == 1
    assert text in one_error(capsys.readouterr())


def test_a_row_with_nan_has_no_answer(tmp_path: Path) -> None:
    store_known(tmp_path, [0, 0], [0, 0])
    broken = np.eye(CLASSES, dtype=np.float32)[[0, 0]]
    broken[1] = np.nan
    store_sweep(tmp_path, "20260101-a", [Member(A, answers=[0, 0]), Member(B, answers=broken)], items=2)
    found = compared(tmp_path, "backend=torch", "backend=openvino")
    assert found.items == (comparing.Item(1, 0, None, 0, 0),)
    assert any(line.split() == ["1", "0", "–", "0", "0"] for line in comparison.describe(found))


def test_without_the_store_there_is_no_who_was_right(tmp_path: Path) -> None:
    store_sweep(tmp_path, "20260101-a", [Member(A, answers=[0, 1]), Member(B, answers=[0, 2])])
    found = compared(tmp_path, "backend=torch", "backend=openvino")
    assert found.answers["agreement"] == 0.5
    assert found.answers["who_was_right"] is None
    text = "\n".join(comparison.describe(found))
    assert "the labels are not in" in text
    assert "McNemar" not in text
    assert ["item", "A", "B"] in [line.split() for line in text.splitlines()]


def test_data_without_labels_still_agree(tmp_path: Path) -> None:
    store_known(tmp_path, None, [0, 1])
    store_sweep(tmp_path, "20260101-a", [Member(A, answers=[0, 1]), Member(B, answers=[0, 1])], items=2)
    lines = comparison.describe(compared(tmp_path, "backend=torch", "backend=openvino"))
    assert any(line.startswith("agreement      100 % of 2 items, 0 disagreements") for line in lines)
    assert not any("who was right" in line for line in lines)


def test_numbers_that_are_no_classes_are_compared_as_numbers(tmp_path: Path) -> None:
    store_known(tmp_path, None, [0, 1], task="regression")
    a = np.array([[1.0, 2.0], [3.0, 4.0]], dtype=np.float32)
    store_sweep(tmp_path, "20260101-a", [Member(A, answers=a), Member(B, answers=a + 0.25)], items=2)
    lines = comparison.describe(compared(tmp_path, "backend=torch", "backend=openvino"))
    assert any(line.startswith("answers        not classes: they differ by at most 0.25, cosine") for line in lines)


def test_outputs_of_different_tasks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = np.eye(3, dtype=np.float32)
    store_sweep(tmp_path, "20260101-a", [Member(A, answers=[0, 1, 2]), Member(B, answers=other)], items=3)
    fails(tmp_path, capsys, "an answer of A has shape [10], one of B [3]: they are not of the same task")


def test_answers_to_other_data(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store_sweep(tmp_path, "20260101-a", [Member(A, answers=[0, 1])], items=2)
    store_sweep(tmp_path, "20260102-b", [Member(A, answers=[0])], data="another", items=1)
    label = "digits-torch-fp32-b1-c1"
    sweeps = ["--sweep", "20260101", "--sweep", "20260102"]
    fails(
        tmp_path,
        capsys,
        "A answers digits (2 items), B digits (1 items): only answers to the same",
        label,
        label,
        *sweeps,
    )


def test_data_prepared_on_each_host_is_noted(tmp_path: Path) -> None:
    store_sweep(tmp_path, "20260101-a", [Member(A, answers=[0, 1])], items=2)
    store_sweep(tmp_path, "20260102-b", [Member(B, answers=[0, 1])], data="nearly", items=2)
    found = compared(tmp_path, "digits-torch-fp32-b1-c1", "digits-openvino-fp32-b1-c1")
    assert any("not the same to the last bit" in note for note in found.notes)


def test_answers_that_are_gone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store_sweep(tmp_path, "20260101-a", [Member(A, answers=[0, 1]), Member(B, answers=[0, 1])])
    first, second = sorted(tmp_path.rglob("*torch*/outputs.npz"))
    first.unlink()
    assert compared(tmp_path, "backend=torch", "backend=openvino").common == 2
    second.write_bytes(b"PK torn")
    fails(tmp_path, capsys, "the answers of digits-torch-fp32-b1-c1 are gone: its sweep's folder")


def test_trial_without_answers_cannot_be_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    members = [Member(A, "build_failed", more={"reason": "no such operator"}), Member(B, answers=[0])]
    store_sweep(tmp_path, "20260101-a", members)
    fails(tmp_path, capsys, "digits-torch-fp32-b1-c1 has no answers: build failed, no such operator")


@pytest.mark.parametrize("origin", [Origin.REPORTED, Origin.REPLAYED])
def test_reported_results_have_no_answers(tmp_path: Path, capsys: pytest.CaptureFixture[str], origin: Origin) -> None:
    store_sweep(tmp_path, "20260101-a", [Member(A, answers=[0], more={"origin": origin}), Member(B, answers=[0])])
    fails(tmp_path, capsys, f"was {origin.value}, not measured: it has no stored answers")


def test_a_rejected_trial_and_other_request_sizes_are_noted(tmp_path: Path) -> None:
    more: dict[str, Any] = {"reason": "its answers are constant"}
    members = [Member(A, "rejected", answers=[0, 0], more=more), Member({**B, "batch": 4}, answers=[0, 1])]
    store_sweep(tmp_path, "20260101-a", members)
    notes = compared(tmp_path, "backend=torch", "backend=openvino").notes
    assert "A is rejected: its answers are constant" in notes
    assert "a request holds 1 item in A, 4 in B: latencies are of requests" in notes


def test_trials_are_found_by_key_run_and_settings_and_in_older_sweeps(tmp_path: Path) -> None:
    from sweep.store.ledger import Ledger

    folder = store_sweep(tmp_path, "20260101-a", [Member(A, answers=[0]), Member(B, answers=[0])])
    wanted = query.trial(tmp_path, "backend=torch")
    book = Ledger(folder)
    book.append("runs", runs={wanted.record.key: "feedbeef0123", "": "0123feedbeef"})
    book.close()
    store_sweep(tmp_path, "20260102-b", [Member({"backend": "inductor"}, answers=[0])])
    for name in (wanted.record.key, wanted.record.key[:6], "feedbeef0123", "feedbe", wanted.record.label):
        found = query.trial(tmp_path, name)
        assert (found.record.key, found.history.folder) == (wanted.record.key, folder)


WRONG = {
    ("digits-torhc-fp32-b1-c1", "backend=openvino"): "the nearest is digits-torch-fp32-b1-c1; `python -m sweep trials`",
    ("batch=1", "backend=openvino"): "2 trials are 'batch=1': digits-torch-fp32-b1-c1 (",
    ("backend=torch", "backend=torch"): "A and B are both digits-torch-fp32-b1-c1: give two trials, or --sweep twice",
    ("backend=torch", "backend=tensorrt"): "no such trial here: there is backend=openvino,torch",
    ("backend=torch", "bakcend=openvino"): "no axis 'bakcend': did you mean 'backend'?",
    ("backend=torch", "backend=openvino", *["--sweep", "last"] * 3): "--sweep is given 3 times",
}


@pytest.mark.parametrize("words", WRONG, ids=" ".join)
def test_ambiguous_trials_give_a_one_line_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...]
) -> None:
    store_sweep(tmp_path, "20260101-a", [Member(A, answers=[0]), Member(B, answers=[0])])
    fails(tmp_path, capsys, WRONG[words], *words)


def test_long_lists_of_disagreements_are_cut(tmp_path: Path) -> None:
    store_sweep(tmp_path, "20260101-a", [Member(A, answers=[0] * 50), Member(B, answers=[1] * 50)])
    lines = comparison.describe(compared(tmp_path, "backend=torch", "backend=openvino"))
    assert "  … and 30 more: --json has them all" in lines


@given(st.integers(0, 400), st.sampled_from([0.9, 0.95, 0.99]))
def test_decisive_is_the_smallest_split_that_shows_a_difference(discordant: int, confidence: float) -> None:
    needed = agreement.decisive(discordant, confidence)
    if needed is None:
        assert 2 * 0.5**discordant >= 1 - confidence, "even all of them on one side"
        return
    assert discordant / 2 < needed <= discordant
    assert intervals.mcnemar_exact(needed, discordant - needed) < 1 - confidence
    assert intervals.mcnemar_exact(needed - 1, discordant - needed + 1) >= 1 - confidence


@pytest.mark.parametrize(("discordant", "needed"), [(0, None), (5, None), (6, 6), (8, 8), (9, 8), (100, 61)])
def test_decisive_counts(discordant: int, needed: int | None) -> None:
    """Six is the least that can show anything at 95 %: 2 / 2**6 = 0.031; for 100 tables of the sign test have 61."""
    assert agreement.decisive(discordant) == needed


@given(st.integers(0, 60), st.integers(0, 60))
def test_the_sentence_says_a_difference_exactly_where_the_test_shows_one(a: int, b: int) -> None:
    said = comparison.describe_discordant(a, b)
    shows = intervals.mcnemar_exact(a, b) < 0.05
    assert ("is right more often" in said) == shows
    assert ("says nothing" in said) == (0 < a + b < 6)
    if shows:
        assert said.endswith("A is right more often than B" if a > b else "B is right more often than A")


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=80))
def test_swapping_the_two_swaps_who_was_right_and_nothing_else(pairs: list[tuple[int, int]]) -> None:
    a, b = (np.eye(5)[list(side)] for side in zip(*pairs, strict=True))
    labels = np.zeros(len(pairs), dtype=int)
    there, back = agreement.compare([a], [b], labels), agreement.compare([b], [a], labels)
    right, swapped = there["who_was_right"], back["who_was_right"]
    assert (right["only_reference"], right["only_candidate"]) == (swapped["only_candidate"], swapped["only_reference"])
    assert (there["agreement"], there["mcnemar_p"]) == (back["agreement"], back["mcnemar_p"])
    assert sum(right.values()) == len(pairs)
