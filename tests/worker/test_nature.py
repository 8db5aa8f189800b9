"""What the original model does itself is known before any build is blamed for it."""

import contextlib
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sweep.spec import Json, to_json
from sweep.spec.facts import NatureFacts
from sweep.worker import answers, arrays, nature, variants
from sweep.worker.copying import copy_request
from sweep.worker.progress import Progress
from sweep.workloads import Dataset

VALUES = np.random.RandomState(0).standard_normal((40, 3)).astype(np.float32)
DATA = Dataset({"x": VALUES}, None, {}, "regression")


def plain(x: Any) -> Any:
    return x * 2


def noisy(x: Any) -> Any:
    return x + np.random.random(x.shape).astype(np.float32)


class Counting:
    calls = 0

    def __call__(self, x: Any) -> Any:
        self.calls += 1
        return x + self.calls


def centred(x: Any) -> Any:
    return x - x.mean(axis=0)


def centred_several(x: Any) -> Any:
    if len(x) == 1:
        raise ValueError("more than one sample is needed")
    return centred(x)


def halving(x: Any) -> Any:
    x *= 0.5
    return x + 1


def logarithm(x: Any) -> Any:
    with np.errstate(all="ignore"):
        return np.log(x + 1)


def shifted(by: float) -> Callable[[Any], Any]:
    return lambda x: x * 2 + by


def inspect(model: Any, folder: Path) -> NatureFacts:
    folder.mkdir(exist_ok=True)
    answers.write_reference(model, DATA, None, folder / "reference")
    return nature.inspect(model, nature.choose_samples(DATA, None), ["x"], folder / "reference")


def test_a_plain_model_has_no_nature(tmp_path: Path) -> None:
    assert inspect(plain, tmp_path) == NatureFacts(batch=8)
    assert NatureFacts(batch=8).describe() == ""


def test_chance_is_told_from_a_counter_inside(tmp_path: Path) -> None:
    chance = inspect(noisy, tmp_path / "a")
    assert chance.by_chance
    assert chance.repeat_difference is not None
    assert 0.5 < chance.repeat_difference < 1
    counter = inspect(Counting(), tmp_path / "b")
    assert counter.repeat_difference == pytest.approx(2, abs=1e-5)
    assert not counter.by_chance
    assert "by its earlier calls or a chance of its own (answers differ by up to 2)" in counter.describe()


def test_the_rest_of_the_batch_counts(tmp_path: Path) -> None:
    few = VALUES[np.unique(np.linspace(0, 39, 8).round().astype(int))]
    facts = inspect(centred, tmp_path / "a")
    assert facts.batch_difference == pytest.approx(np.abs(few - few.mean(axis=0)).max(), rel=1e-5)
    assert facts.batch == 8
    assert facts.describe().startswith("depends on the rest of the batch (answers differ by up to ")
    assert facts.describe().endswith(" alone and in a batch of 8)")
    assert inspect(centred_several, tmp_path / "b").batch_difference != 0.0


def test_inputs_that_are_changed_in_place_are_named_and_the_data_stays(tmp_path: Path) -> None:
    before = VALUES.copy()
    facts = inspect(halving, tmp_path)
    assert facts.changed_inputs == ("x",)
    assert facts.describe() == "changes its input x in place"
    np.testing.assert_array_equal(VALUES, before)


def test_answers_that_are_no_numbers_are_counted(tmp_path: Path) -> None:
    facts = inspect(logarithm, tmp_path)
    assert facts.nan_share == np.isnan(logarithm(VALUES)).any(axis=1).mean()
    assert facts.repeat_difference == facts.batch_difference == 0.0
    assert facts.describe() == f"answers {100 * facts.nan_share:.2g} % of the samples with NaN"


def test_rounding_is_no_difference() -> None:
    around_300 = (300 + 15 * VALUES).astype(np.float32)
    limit = nature.find_tolerance(around_300)
    assert 0.015 < limit < 0.03
    assert nature.compare([around_300], [around_300 * np.float32(1 + 1e-6)], [limit]) == 0.0
    assert nature.compare([around_300], [around_300 + 1], [limit]) == pytest.approx(1, abs=1e-4)
    assert nature.compare([np.array([1, 2])], [np.array([1, 3])], [0.0]) == 1
    assert nature.compare([np.array([np.nan])], [np.array([1.0])], [1.0]) == np.inf


def test_samples_are_of_the_most_frequent_size_without_padding() -> None:
    data = DATA._replace(sizes=np.array([[2]] * 30 + [[3]] * 10))
    (samples,) = nature.choose_samples(data, {"x": [1]})
    assert samples.shape == (8, 2)


@pytest.mark.process
def test_a_module_that_changes_its_input_is_named(tmp_path: Path) -> None:
    import torch

    class InPlace(torch.nn.Module):
        def forward(self, x: Any) -> Any:
            return x.sub_(0.5).sum(1, keepdim=True)

    assert inspect(InPlace().eval(), tmp_path).changed_inputs == ("x",)
    tensor, array = torch.zeros(2), np.zeros(2)
    copied = copy_request((tensor, {"x": array}))
    copied[0].add_(1)
    copied[1]["x"] += 1
    assert not tensor.any()
    assert not array.any()


# --- one identity, several models -------------------------------------------------------------------------------------

OF = {"model": "m", "data": "d", "bucket_dims": None}


def store(root: Path, model: Any) -> variants.Variant:
    """The variant of a model among the stored ones; its reference is stored if it is new."""
    root.mkdir(exist_ok=True)
    samples = nature.choose_samples(DATA, None)
    asked = nature.ask(model, samples)

    def obtain(variant: variants.Variant) -> tuple[str, Json]:
        claim = functools.partial(variants.claim, of=OF, variant=variant, answers=asked)
        key = f"reference-{variant.number}"
        return key, answers.obtain_answers(key, model, DATA, None, root, Progress(root), claim=claim)

    variant, key, _ = variants.obtain(root, OF, asked, obtain)
    facts = nature.inspect(model, samples, ["x"], root / key)
    arrays.read_or_write(root / key / nature.FACTS, lambda: to_json(facts))
    return variant


def test_other_answers_are_another_variant_and_the_first_is_found_again(tmp_path: Path) -> None:
    root = tmp_path / "references"
    assert store(root, shifted(0)) == variants.FIRST
    assert store(root, shifted(0)) == variants.FIRST
    second = store(root, shifted(1))
    assert second == variants.Variant(1, True)
    assert store(root, shifted(1)) == variants.Variant(1, False)
    assert store(root, shifted(0)) == variants.FIRST
    assert second.key("m") != variants.FIRST.key("m") == "m"


def test_a_model_that_never_repeats_itself_stays_one(tmp_path: Path) -> None:
    class Unseeded:
        random = np.random.default_rng()

        def __call__(self, x: Any) -> Any:
            return x + self.random.random(x.shape).astype(np.float32)

    assert store(tmp_path / "references", Unseeded()) == variants.FIRST
    assert store(tmp_path / "references", Unseeded()) == variants.FIRST


def test_what_another_model_began_is_thrown_away(tmp_path: Path) -> None:
    class Dying:
        calls = 0

        def __call__(self, x: Any) -> Any:
            self.calls += 1
            if self.calls == 3:  # after the samples and a first batch
                raise KeyboardInterrupt
            return x + 5

    data = DATA._replace(inputs={"x": np.repeat(VALUES, 4, axis=0)})
    for model in (Dying(), shifted(0)):
        asked = nature.ask(model, nature.choose_samples(data, None))
        claim = functools.partial(variants.claim, of=OF, variant=variants.FIRST, answers=asked)
        with contextlib.suppress(KeyboardInterrupt):
            answers.obtain_answers("key", model, data, None, tmp_path, Progress(tmp_path), claim=claim)
    (stored,) = arrays.read_reference(tmp_path / "key")
    np.testing.assert_array_equal(stored, 2 * data.inputs["x"])


def test_a_damaged_reference_is_passed_over(tmp_path: Path) -> None:
    root = tmp_path / "references"
    store(root, shifted(0))
    (root / "reference-0" / variants.MODEL).write_text('{"of": ')
    assert variants.find(root, OF, (VALUES,)) == variants.FIRST
