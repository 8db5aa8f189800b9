"""The articles' experiments: each runs here at small scale, replays, or says exactly what it needs."""

import re
import shlex
import sys
from collections import Counter
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from sweep.__main__ import run
from sweep.config.compose import find_conf_dir
from sweep.spec import FailureKind, Origin, Record, Status
from sweep.store import ledger
from tests.support.planning import plan_trials
from tests.support.running import QUICK, ROOT

pytestmark = pytest.mark.usefixtures("fake_pool")

REPLAYED = {
    "inf1_resnet50_3way": {"ok": 3},
    "inf1_resnet50_15": {"ok": 6, "build_failed": 9},
    "eva02_clip_inf2": {"ok": 2},
    "resnet50_tensorrt": {"ok": 2, "rejected": 5, "unavailable": 1},
    "resnet50_endpoints": {"ok": 6},
    "cheapest_under_200ms": {"ok": 6},
}
ARTICLES = (*REPLAYED, "padding_vs_bucketing", "inf1_core_groups")
COMMAND = re.compile(r"^#\s+python -m sweep (.+)$", re.MULTILINE)
PLACEHOLDER = re.compile(r"\b[A-Z_]{4,}\b(?!=)")  # PYTHON is put in; other words in capitals are for a person


def comments(name: str) -> str:
    text = (find_conf_dir() / "experiment" / f"{name}.yaml").read_text(encoding="utf-8")
    return text.partition("defaults:")[0].replace("\\\n#", " ")


def shown(name: str) -> list[list[str]]:
    """Every sweep that the comments of an experiment show, as words."""
    lines = [line.split("  # ")[0].replace("PYTHON", sys.executable) for line in COMMAND.findall(comments(name))]
    return [shlex.split(line) for line in lines if "=" in line.split()[0] and not PLACEHOLDER.search(line)]


def finished(outputs: Path, *words: str) -> tuple[int, dict[str, Record], ledger.History]:
    status = run([*words, *QUICK, f"outputs={outputs}"])
    history = ledger.History(ledger.find(outputs, "last"))
    return status, dict(history.records), history


def counts(records: dict[str, Record]) -> dict[str, int]:
    return dict(Counter(record.status.value for record in records.values()))


def chosen(records: dict[str, Record], **settings: Any) -> Record:
    (found,) = (r for r in records.values() if all(r.settings.get(name) == v for name, v in settings.items()))
    return found


@pytest.mark.parametrize("name", ARTICLES)
def test_every_file_says_what_the_article_did_and_how_to_run_it(name: str) -> None:
    text = comments(name)
    assert "article" in text.lower()
    assert f"experiment={name}" in text
    assert "never run on a" in text or "never run so" in text or name == "cheapest_under_200ms"
    assert len(shown(name)) >= 1


@pytest.mark.parametrize("name", ARTICLES)
def test_every_command_in_the_files_can_be_planned(name: str) -> None:
    for words in shown(name):
        planned = plan_trials(*words)
        assert planned.entries
        assert not [entry.reason for entry in planned.entries if entry.status is Status.INVALID]


@pytest.mark.parametrize("name", REPLAYED)
def test_what_a_table_has_is_replayed(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, records, history = finished(tmp_path, f"experiment={name}")
    assert status == 0
    assert counts(records) == REPLAYED[name]
    assert {record.origin for record in records.values()} == {Origin.REPLAYED}
    assert "Nothing was run: the best replayed number is" in capsys.readouterr().out
    check = CHECKS.get(name)
    if check is not None:
        check(records)
    if name == "cheapest_under_200ms":
        leaves_out_what_is_slow_or_has_no_price(history)


def three_ways(records: dict[str, Record]) -> None:
    best = max(records.values(), key=lambda record: (record.metrics or {})["throughput_items_per_s"])
    assert (best.settings["batch"], best.settings["cores"], best.settings["request_batch"]) == (5, 1, 50)
    assert {record.settings["batch"] for record in records.values()} == {1, 5}


def fifteen(records: dict[str, Record]) -> None:
    ok = {(r.settings["batch"], r.settings["cores"]) for r in records.values() if r.status is Status.OK}
    assert ok == {(1, 1), (1, 4), (1, 16), (2, 4), (2, 16), (3, 16)}
    failed = [record for record in records.values() if record.status is Status.BUILD_FAILED]
    assert all(r.failure and r.failure.kind is FailureKind.PARTIAL_PLACEMENT for r in failed)
    assert all("Scheduler Failure!" in record.reason for record in failed)
    assert sum(r.failure.seconds for r in failed if r.failure) == pytest.approx(2064.79)
    assert sum((r.metrics or {}).get("build_seconds", 0) for r in records.values()) == pytest.approx(935.48, abs=0.1)
    assert not any(record.repeats for record in records.values())


def tensorrt(records: dict[str, Record]) -> None:
    worst = chosen(records, precision="fp32", batch=128, stack="tensorflow_tensorrt")
    assert worst.failure is not None
    assert worst.failure.kind is FailureKind.IMPLAUSIBLE_TIMING
    assert "7.48x the device's peak" in worst.reason
    assert (worst.metrics or {})["throughput_items_per_s"] == 7869.37
    for precision in ("fp32", "fp16", "int8"):
        eight = chosen(records, precision=precision, batch=8, stack="tensorflow_tensorrt")
        assert "Little's law" in eight.reason
    assert chosen(records, precision="fp16", batch=128).status is Status.UNAVAILABLE


def endpoints(records: dict[str, Record]) -> None:
    answers = [(record.metrics or {}).get("top1_probability") for record in records.values()]
    known = [answer for answer in answers if answer is not None]
    assert len(known) == 3
    assert max(known) - min(known) < 1e-6
    timed = [r for r in records.values() if "throughput_items_per_s" in (r.metrics or {})]
    rates = {r.settings["hardware"]: (r.metrics or {})["throughput_items_per_s"] for r in timed}
    assert rates["c5_2xlarge_eia2_xlarge"] / rates["c5_2xlarge"] == pytest.approx(5.85, abs=0.01)


def eva(records: dict[str, Record]) -> None:
    assert {r.settings["hardware"]: (r.metrics or {})["latency_ms_p50"] for r in records.values()} == {
        "inf2_xlarge": 50,
        "g4dn_xlarge": 350,
    }
    assert not any(record.repeats for record in records.values())
    told = [note for record in records.values() for note in record.notes["replayed"]]
    assert any("no throughput can be derived" in note for note in told)
    assert not any("throughput_items_per_s" in (record.metrics or {}) for record in records.values())


def leaves_out_what_is_slow_or_has_no_price(history: ledger.History) -> None:
    verdict = next(e["verdict"] for e in ledger.entries(history.folder) if e["kind"] == "finish")
    reasons = {history.records[key].settings["hardware"]: text for key, text in verdict["reasons"].items()}
    assert "over the limit of 120 ms" in reasons["c5_2xlarge"]
    assert "price unknown" in reasons["c5_2xlarge_eia2_xlarge"]
    best = history.records[verdict["ranking"][0]]
    assert (best.settings["hardware"], best.settings["batch"]) == ("inf1_xlarge", 5)


def cheapest(records: dict[str, Record]) -> None:
    priced = {r.settings["hardware"] for r in records.values() if "usd_per_million_items" in (r.metrics or {})}
    assert priced == {"c5_2xlarge", "g4dn_xlarge", "inf1_xlarge"}
    slow = chosen(records, hardware="c5_2xlarge")
    assert (slow.metrics or {})["latency_ms_p99"] > 120


CHECKS = {
    "inf1_resnet50_3way": three_ways,
    "inf1_resnet50_15": fifteen,
    "resnet50_tensorrt": tensorrt,
    "resnet50_endpoints": endpoints,
    "eva02_clip_inf2": eva,
    "cheapest_under_200ms": cheapest,
}


def test_elastic_inference_can_only_be_replayed(tmp_path: Path) -> None:
    words = ["model=tiny", "backend=fake", "hardware=c5_2xlarge_eia2_large"]
    _, records, _ = finished(tmp_path, *words)
    (record,) = records.values()
    assert record.status is Status.UNAVAILABLE
    assert "Amazon Elastic Inference is no longer available" in record.reason


def test_core_groups_need_their_hardware_and_run_small_on_this_cpu(tmp_path: Path) -> None:
    status, records, _ = finished(tmp_path, "experiment=inf1_core_groups")
    assert status == 2
    assert counts(records) == {"unavailable": 3}
    assert {(r.settings["cores"], r.settings["replicas"]) for r in records.values()} == {(8, 1), (1, 4), (2, 2)}
    assert all("this host is not an inf1.6xlarge" in record.reason for record in records.values())
    (small,) = (words for words in shown("inf1_core_groups") if "hardware=local" in words)
    tiny = [*small, "model=tiny", "backend=fake", "gates.little_tolerance=1.0"]
    status, records, _ = finished(tmp_path / "small", *tiny)
    assert status == 0
    assert counts(records) == {"ok": 2}


def test_padding_against_bucketing_declares_what_it_compares(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["experiment=padding_vs_bucketing", "plan=only", f"outputs={tmp_path}"]) == 0
    printed = capsys.readouterr().out
    assert "3 trials" in printed
    assert "2 distinct builds for 3 trials" in printed


@pytest.mark.usefixtures("warm_pool")
@pytest.mark.slow  # that it can be planned is tested with all experiments
def test_padding_against_bucketing_runs(tmp_path: Path) -> None:
    for package in ("efficientnet-lite-pytorch", "foolbox", "onnxruntime"):
        try:
            metadata.version(package)
        except metadata.PackageNotFoundError:
            pytest.skip(f"{package} is not installed")
    _, records, _ = finished(tmp_path, "experiment=padding_vs_bucketing", "gates.little_tolerance=1.0")
    assert counts(records) == {"ok": 3}
    padded = next(r for r in records.values() if r.settings["buckets"] == [[320, 320]])
    assert 0.9 < (padded.metrics or {})["cosine_mean"] < 0.999


def test_clip_without_open_clip_says_what_to_install(tmp_path: Path) -> None:
    try:
        metadata.version("open-clip-torch")
    except metadata.PackageNotFoundError:
        pass
    else:
        pytest.skip("open_clip is installed")
    words = ["experiment=eva02_clip_inf2", "model=eva02_clip", "backend=torch", "hardware=local"]
    _, records, _ = finished(tmp_path, *words)
    (record,) = records.values()
    assert record.status is Status.UNAVAILABLE
    assert record.reason == "not installed: open-clip-torch; python -m pip install open-clip-torch"


def test_the_zero_shot_classifier_is_the_image_tower_with_the_prompts(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """With a stand-in for open_clip: what it is asked for, and that scores are scaled cosines with the prompts."""
    import types

    import numpy as np
    import torch

    from sweep.workloads import clip

    class Tower(torch.nn.Module):
        image_mean, image_std = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)

        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.randn(5, 3))

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return image.mean(dim=(2, 3)) @ self.weight.t()

    class Model(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.visual = Tower()
            self.logit_scale = torch.nn.Parameter(torch.tensor(2.0))

        def encode_text(self, text: torch.Tensor, normalize: bool = False) -> torch.Tensor:
            assert normalize
            return torch.nn.functional.normalize(text.float(), dim=-1)

    asked: list[Any] = []
    fake: Any = types.ModuleType("open_clip")
    fake.create_model = lambda name: asked.append(name) or Model()
    fake.get_tokenizer = lambda name: lambda texts: asked.append(texts) or torch.arange(15).reshape(3, 5)
    monkeypatch.setitem(sys.modules, "open_clip", fake)
    made = clip.zero_shot(classes=["cat", "dog", "drum"]).eval()
    assert asked == ["EVA02-B-16", ["a photo of a cat.", "a photo of a dog.", "a photo of a drum."]]
    image = torch.rand(2, 3, 4, 4) * 2 - 1
    with torch.no_grad():
        features = made.visual(image)  # a mean and a deviation of 0.5 give back -1..1
        text = torch.nn.functional.normalize(torch.arange(15).reshape(3, 5).float(), dim=-1)
        expected = torch.nn.functional.cosine_similarity(features[:, None], text[None], dim=-1) * np.exp(2.0)
        assert torch.allclose(made(image), expected, atol=1e-5)
    path = tmp_path / "weights.pt"
    torch.save(Model().state_dict(), path)
    again, same = (clip.zero_shot(classes=["cat", "dog", "drum"], path=str(path)) for _ in range(2))
    with torch.no_grad():
        assert torch.equal(again(image), same(image))
        assert not torch.allclose(again(image), made(image))


@pytest.mark.process
def test_the_classes_of_the_photographs_are_all_named() -> None:
    pytest.importorskip("foolbox")
    from sweep.workloads import clip

    data = clip.photographs()
    assert data.labels is not None
    assert set(data.labels.tolist()) == set(range(len(clip.CLASSES)))


def test_the_page_tells_the_counts_that_come_out() -> None:
    page = (ROOT / "docs" / "guides" / "experiments.md").read_text(encoding="utf-8")
    for name, expected in REPLAYED.items():
        row = re.findall(rf"^\| `{name}` \|.*$", page, re.MULTILINE)[0]
        words = ", ".join(f"{number} {status.replace('_', ' ')}" for status, number in expected.items())
        assert words in row, name
    for name in ARTICLES:
        assert f"`{name}`" in page
