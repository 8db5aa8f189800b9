"""Samples of different sizes, and the two workloads that have them: MiniLM on rated texts, Lite0 on framed pictures."""

import hashlib
import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweep import workloads
from sweep.spec import UserError, digest, to_json
from sweep.spec.facts import ReferenceInfo
from sweep.worker import answers as original
from sweep.worker import arrays as materials
from sweep.worker import data_sets, entries
from sweep.workloads import Dataset, check_dataset, check_fit, group_by_size, minilm, snippets, take_samples
from sweep.workloads.sizes import pick_sizes, remove_padding
from tests.support import text_workloads
from tests.support.text_workloads import DIMS, LONGEST, texts

needs_text = pytest.mark.skipif(
    find_spec("transformers") is None or find_spec(snippets.WEIGHTS) is None, reason="needs the extra 'text'"
)
OWN = "tests.support.text_workloads."
DATA: dict[str, Any] = {"name": "snippets", "_target_": "sweep.workloads.snippets.snippets"}
MODEL: dict[str, Any] = {"name": "minilm", "_target_": "sweep.workloads.minilm.minilm"}


# --- sizes of samples -------------------------------------------------------------------------------------------------


def test_sizes_become_one_row_of_whole_numbers_a_sample() -> None:
    given = check_dataset(texts(), "mine").sizes
    assert given is not None
    assert given.shape == (40, 1)
    assert given.dtype == np.int64
    assert check_dataset(texts()._replace(sizes=None), "mine").sizes is None


@pytest.mark.parametrize(
    ("sizes", "words"),
    [
        (np.ones(39, int), r"has 39 sizes for 40 samples"),
        (np.full(40, 2.0), r"whole numbers \(samples, dimensions\), not float64 \(40, 1\)"),
        (np.ones((40, 0), int), r"whole numbers"),
        (np.ones((40, 1, 1), int), r"whole numbers"),
        (np.arange(40), r"sample 0 has the size \[0\]: sizes begin at 1"),
        (np.where(np.arange(40) == 7, -3, 1), r"sample 7 has the size \[-3\]"),
    ],
)
def test_wrong_sizes_are_refused_in_one_line(sizes: Any, words: str) -> None:
    with pytest.raises(UserError, match=words) as caught:
        check_dataset(texts()._replace(sizes=sizes), "mine")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("sizes", "dims", "words"),
    [
        (1, None, r"say with model.bucket_dims which axes they are, as in \{input_ids: \[1\]\}"),
        (1, {"ids": [1]}, r"model.bucket_dims names ids: data mine has the inputs input_ids, attention_mask"),
        (1, {"input_ids": [1, 2]}, r"has 2 axes of input_ids, the sizes of data mine have 1 dimensions"),
        (1, {"input_ids": [0]}, r"has the axes 1 to 1, axis 0 is the batch: \[0\] was given"),
        (1, {"input_ids": [2]}, r"has the axes 1 to 1"),
        (LONGEST + 1, DIMS, r"sample 0 has the size \[13\], its array input_ids ends at \[12\]"),
        (1, DIMS, r"input input_ids: sample \d+ has values beyond its size \[1\], not padding alone"),
    ],
)
def test_sizes_that_contradict_bucket_dims_are_refused(sizes: int, dims: Any, words: str) -> None:
    data = check_dataset(texts()._replace(sizes=np.full(40, sizes)), "mine")
    with pytest.raises(UserError, match=words) as caught:
        check_fit(data.sizes, data.inputs, dims, "mine")
    assert "\n" not in str(caught.value)


def test_data_that_fit_are_accepted_and_must_have_the_axes() -> None:
    data = check_dataset(texts(), "mine")
    for sizes in (data.sizes, None):
        check_fit(sizes, data.inputs, DIMS, "mine")
    check_fit(None, data.inputs, None, "mine")
    check_fit(None, {}, DIMS, "mine")
    with pytest.raises(UserError, match="names anything: data mine has the inputs"):
        check_fit(None, data.inputs, {"anything": [1]}, "mine")
    with pytest.raises(UserError, match=r"axes 1 to 1, axis 0 is the batch: \[7\] was given"):
        check_fit(None, data.inputs, {"input_ids": [7]}, "mine")


@given(st.integers(1, 30), st.integers(1, 9), st.integers(0, 2**32 - 1))
def test_groups_hold_every_sample_once_whole_and_without_padding(count: int, longest: int, seed: int) -> None:
    data = check_dataset(texts(count, longest, seed), "mine")
    assert data.sizes is not None
    seen: list[int] = []
    for items, size in group_by_size(data.sizes, count):
        ids, mask = take_samples(data.inputs, items, size, DIMS)
        seen += items.tolist()
        assert set(data.sizes[items, 0]) == {ids.shape[1]}
        assert mask.all()
        np.testing.assert_array_equal(ids, data.inputs["input_ids"][items, : ids.shape[1]])
    assert sorted(seen) == list(range(count))


def test_samples_of_one_size_are_one_group_as_they_are() -> None:
    data = check_dataset(texts()._replace(sizes=None), "mine")
    ((items, size),) = group_by_size(None, 40)
    arrays = take_samples(data.inputs, items, size, None)
    assert items.tolist() == list(range(40))
    assert [array.shape for array in arrays] == [(40, LONGEST)] * 2


def test_height_and_width_are_cut_each_at_its_own_axis() -> None:
    picture = np.arange(2 * 3 * 4 * 5).reshape(2, 3, 4, 5)
    cut, label = remove_padding({"picture": picture, "label": np.arange(2)}, [3, 2], {"picture": [2, 3]})
    np.testing.assert_array_equal(cut, picture[:, :, :3, :2])
    assert label.tolist() == [0, 1]


def test_picked_sizes_hold_the_smallest_and_the_largest() -> None:
    sizes = np.array([[8], [3], [5], [3], [100], [7]])
    assert pick_sizes(sizes, 3) == {(3,): 1, (7,): 5, (100,): 4}
    assert list(pick_sizes(sizes, 9)) == [(3,), (5,), (7,), (8,), (100,)]
    assert list(pick_sizes(np.array([[4, 4], [1, 9]]), 2)) == [(1, 9), (4, 4)]


# --- materials and references -----------------------------------------------------------------------------------------


def identify(data: Dataset) -> str:
    return data_sets.write_data([data], None).digest()


def test_sizes_are_stored_and_belong_to_the_data(tmp_path: Path) -> None:
    data = check_dataset(texts(), "mine")
    data_sets.write_data([data], tmp_path / "with")
    np.testing.assert_array_equal(materials.read_sizes(tmp_path / "with"), data.sizes)
    data_sets.write_data([data._replace(sizes=None)], tmp_path / "without")
    assert materials.read_sizes(tmp_path / "without") is None
    assert data.sizes is not None
    keys = {identify(data._replace(sizes=sizes)) for sizes in (None, data.sizes, data.sizes + 1)}
    assert len(keys) == 3


def test_data_without_sizes_keeps_its_digest() -> None:
    """What was stored before there were sizes is still found."""
    data = Dataset({"x": np.zeros((2, 3), np.float32)}, np.array([0, 1]), {}, "classification", 2)
    arrays = [("inputs", "x", data.inputs["x"]), ("labels", "labels", data.labels)]
    old = [
        [kind, name, list(a.shape), str(a.dtype), hashlib.sha256(a.tobytes()).hexdigest()]
        for kind, name, a in arrays
        if a is not None
    ]
    assert identify(data) == digest(["classification", old])


def test_reference_answers_are_those_of_single_samples_without_padding(tmp_path: Path) -> None:
    data, model = (
        check_dataset(texts(), "mine"),
        text_workloads.model("unmasked"),
    )  # it would answer otherwise to padding
    facts = original.write_reference(model, data, DIMS, tmp_path / "reference")
    assert facts.pop("seconds_per_item") > 0
    assert facts == {"outputs": 1, "warning": None, "batch": None, "names": ["0"]}
    (answers,) = materials.read_reference(tmp_path / "reference")
    assert data.sizes is not None
    for number, (size,) in enumerate(data.sizes.tolist()):
        alone = model(*(array[number : number + 1, :size] for array in data.inputs.values()))
        np.testing.assert_allclose(answers[number], alone[0], rtol=1e-6)


def test_padded_answers_differ_only_if_the_mask_is_ignored(tmp_path: Path) -> None:
    data = check_dataset(texts(), "mine")
    differences = {}
    for kind in ("bag", "unmasked"):
        model = text_workloads.model(kind)
        original.write_reference(model, data, DIMS, tmp_path / kind)
        (own,) = materials.read_reference(tmp_path / kind)
        differences[kind] = float(np.abs(model(*data.inputs.values()) - own).max())
    assert differences["bag"] < 1e-6
    assert differences["unmasked"] > 0.1


def test_answers_that_change_shape_with_the_size_are_refused(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"output 0 of the model has a row of shape \(1, 3\) for some .*let the model pool"
    ):
        original.write_reference(text_workloads.model("unpooled"), check_dataset(texts(), "mine"), DIMS, tmp_path / "r")


def ask(folder: Path, **model: Any) -> ReferenceInfo:
    folder.mkdir()
    request = {
        "model": {"name": "bag", "_target_": OWN + "model", "format": "numpy", "bucket_dims": DIMS, **model},
        "data": {"name": "texts", "_target_": OWN + "texts"},
        "data_root": str(folder / "none"),
        "reference_root": str(folder / "none"),
        "flops": False,
    }
    return entries.reference(request, folder)


def test_reference_stores_sizes_and_answers(tmp_path: Path) -> None:
    told = ask(tmp_path / "a")
    assert told.items == 40
    assert told.inputs["input_ids"] == {"shape": [40, LONGEST], "dtype": "int64"}
    assert told.flops_per_item is None
    sizes = materials.read_sizes(tmp_path / "a" / "none" / told.data)
    assert sizes is not None
    assert sizes.max() == LONGEST
    json.dumps(to_json(told))
    with pytest.raises(UserError, match=r"say with model\.bucket_dims"):
        ask(tmp_path / "b", bucket_dims=None)


def test_bucket_dims_are_part_of_the_reference_key(tmp_path: Path) -> None:
    one, other = ask(tmp_path / "a"), ask(tmp_path / "b", bucket_dims={"input_ids": [1], "attention_mask": [1]})
    assert one.reference == other.reference
    with pytest.raises(ValueError, match="broadcast"):  # a mask left whole is the model's own mistake, and told so
        ask(tmp_path / "c", bucket_dims={"input_ids": [1]})


@pytest.mark.process
def test_operations_are_counted_without_padding() -> None:
    import torch

    class Square(torch.nn.Module):
        def forward(self, x: Any) -> Any:
            return x @ x.transpose(1, 2)

    sizes = np.array([[1], [2], [4], [4]])
    values = np.ones((4, 4, 5), np.float32) * (np.arange(4) < sizes)[:, :, None]
    data = check_dataset(Dataset({"x": values.astype(np.float32)}, None, {}, "regression", None, sizes), "mine")
    found = workloads.count_flops_by_size(Square(), data, {"x": [1]})
    assert found == [([1], 10.0), ([2], 40.0), ([4], 160.0)]
    assert workloads.average_flops(found, data.sizes) == (10 + 40 + 160 + 160) / 4
    whole = workloads.count_flops_by_size(Square(), data._replace(sizes=None), None)
    assert whole == [([], 160.0)]
    assert workloads.average_flops(whole, None) == 160.0
    assert workloads.count_flops_by_size(text_workloads.model(), check_dataset(texts(), "mine"), DIMS) == []
    assert workloads.average_flops([], sizes) is None


# --- rated texts ------------------------------------------------------------------------------------------------------


def test_parts_have_their_share_and_no_text_repeats() -> None:
    rows = {part: snippets.read(part) for part in snippets.PARTS}
    for part, size in snippets.PARTS.items():
        counts = {source: sum(one.source == source for one in rows[part]) for source in snippets.FILES}
        assert sum(counts.values()) == len(rows[part])
        assert all(count == size or (part, source) == ("train", "nyt") for source, count in counts.items())
    every = [" ".join(one.text.casefold().split()) for part in rows.values() for one in part]
    assert len(every) == len(set(every)) == 1200 + 1200 + 200 + 3882
    assert all(1 <= abs(one.rating) <= 4 for part in rows.values() for one in part)


@needs_text
def test_snippets_are_whole_texts_with_masks_and_their_own_sizes() -> None:
    data = workloads.load_data(DATA)
    ids, mask = data.inputs["input_ids"], data.inputs["attention_mask"]
    assert ids.shape == mask.shape == (1200, 178)
    assert ids.dtype == mask.dtype == np.int64
    assert data.sizes is not None
    assert data.labels is not None
    assert data.sizes.shape == (1200, 1)
    assert (data.sizes.min(), np.median(data.sizes), data.sizes.max()) == (4, 23, 178)
    np.testing.assert_array_equal(mask.sum(axis=1), data.sizes[:, 0])
    np.testing.assert_array_equal(ids != 0, mask == 1)
    assert set(ids[:, 0]) == {101}  # the mark before a text
    assert set(ids[np.arange(1200), data.sizes[:, 0] - 1]) == {102}  # and the one behind it: nothing was cut
    assert data.labels.sum() == 641
    assert data.calibration["input_ids"].shape == (200, 178)
    check_fit(data.sizes, data.inputs, DIMS, "snippets")


@needs_text
def test_order_follows_the_seed_and_options_choose() -> None:
    def rows(**options: Any) -> list[tuple[int, ...]]:
        data = workloads.load_data({**DATA, **options})
        assert data.sizes is not None
        return [tuple(row[: size[0]]) for row, size in zip(data.inputs["input_ids"], data.sizes, strict=True)]

    all_of_them = rows()
    assert rows(count=64) == all_of_them[:64]
    assert rows(seed=1) != all_of_them
    assert sorted(rows(seed=1)) == sorted(all_of_them)
    tweets = rows(sources=["tweets"])
    assert len(tweets) == 300
    assert set(tweets) < set(all_of_them)
    assert not set(rows(split="held_out")) & set(all_of_them)


@needs_text
def test_calibration_is_never_larger_than_what_is_served() -> None:
    data = workloads.load_data({**DATA, "count": 3, "sources": ["tweets"]})
    assert data.calibration["input_ids"].shape[1] == data.inputs["input_ids"].shape[1] < 60
    assert 0 < len(data.calibration["input_ids"]) < 200


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"split": "heldout"}, r"heldout is not known: did you mean 'held_out'\?"),
        ({"split": "train"}, r"train is not known: choose from held_out, test"),
        ({"sources": ["tweet"]}, r"tweet is not known: did you mean 'tweets'\?"),
        ({"sources": []}, r"sources must be"),
        ({"count": 0}, r"count=0 must be 1 to 1200 of them"),
        ({"count": 1201}, r"count=1201 must be 1 to 1200 of them"),
        ({"count": 301, "sources": ["nyt"]}, r"count=301 must be 1 to 300 of them"),
    ],
)
def test_wrong_options_of_snippets_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        workloads.load_data({**DATA, **options})


# --- the text model ---------------------------------------------------------------------------------------------------


@given(st.integers(0, 2**32 - 1), st.floats(0.1, 10))
def test_fit_is_at_the_minimum_of_its_loss(seed: int, penalty: float) -> None:
    random = np.random.default_rng(seed)
    values, good = random.normal(size=(60, 4)), random.integers(0, 2, 60)
    weight, bias = minilm.fit(values, good, penalty)
    off = 1 / (1 + np.exp(-(values @ weight + bias))) - good
    np.testing.assert_allclose(values.T @ off + penalty * weight, 0, atol=1e-4)
    assert abs(off.sum()) < 1e-4


@pytest.mark.process
def test_fit_equals_that_of_scikit_learn() -> None:
    from sklearn.linear_model import LogisticRegression

    random = np.random.default_rng(0)
    values = random.normal(size=(300, 6))
    good = (values[:, 0] - values[:, 1] + random.normal(size=300) > 0.5).astype(int)
    theirs = LogisticRegression(C=1 / 3.0, tol=1e-8).fit(values, good)
    weight, bias = minilm.fit(values, good, 3.0)
    np.testing.assert_allclose(weight, theirs.coef_[0], atol=1e-4)
    assert bias == pytest.approx(theirs.intercept_[0], abs=1e-4)


@pytest.fixture(scope="module")
def encoder() -> Any:
    pytest.importorskip("transformers")
    return workloads.load_model(MODEL)


@pytest.fixture(scope="module")
def some() -> Any:
    return workloads.load_data({**DATA, "count": 32, "sources": ["tweets"]})


@pytest.mark.process
@needs_text
def test_minilm_tells_good_from_bad_and_padding_makes_no_difference(encoder: Any, some: Any, tmp_path: Path) -> None:
    original.write_reference(encoder, some, DIMS, tmp_path / "reference")
    scores, embedding = materials.read_reference(tmp_path / "reference")
    assert (scores.shape, embedding.shape) == ((32, 2), (32, 384))
    np.testing.assert_allclose(np.exp(scores).sum(axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(embedding, axis=1), 1, rtol=1e-5)
    assert (scores.argmax(axis=1) == some.labels).mean() > 0.8
    padded = workloads.run_reference(encoder, tuple(some.inputs.values()))
    assert np.abs(padded[0] - scores).max() < 1e-4
    assert np.abs(padded[1] - embedding).max() < 1e-5
    narrow = workloads.run_reference(encoder, tuple(array.astype(np.int32) for array in some.inputs.values()))
    np.testing.assert_array_equal(narrow[1], padded[1])


@pytest.mark.process
@needs_text
def test_minilm_needs_its_mask(encoder: Any, some: Any) -> None:
    deaf = workloads.load_model({"name": "deaf", "_target_": OWN + "minilm_unmasked"})
    masked = workloads.run_reference(encoder, tuple(some.inputs.values()))
    ignored = workloads.run_reference(deaf, tuple(some.inputs.values()))
    cosine = (masked[1] * ignored[1]).sum(axis=1)
    assert cosine.mean() < 0.95
    assert workloads.identify(deaf).key != workloads.identify(encoder).key


@pytest.mark.process
@needs_text
def test_a_sample_of_padding_alone_gives_numbers(encoder: Any, some: Any) -> None:
    inputs = tuple(np.zeros_like(array[:2]) for array in some.inputs.values())
    assert all(np.isfinite(array).all() for array in workloads.run_reference(encoder, inputs))


@pytest.mark.process
@needs_text
def test_install_path_is_not_part_of_the_model_digest(encoder: Any) -> None:
    place = str(Path(str(find_spec(snippets.WEIGHTS).origin)).parent)  # type: ignore[union-attr]  # it is installed
    assert not [name for name, module in encoder.named_modules() if place in repr(vars(module).get("name_or_path"))]


# --- pictures ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pictures() -> Any:
    pytest.importorskip("efficientnet_lite_pytorch")
    return workloads.load_data(
        {"name": "photographs_sizes", "_target_": "sweep.workloads.efficientnet.photographs_sizes"}
    )


FRAMES = {"image": [2, 3], "mask": [2, 3]}


@pytest.mark.process
def test_photographs_come_in_sizes_of_their_own(pictures: Any) -> None:
    assert pictures.inputs["image"].shape == (20, 3, 320, 320)
    assert pictures.inputs["mask"].shape == (20, 1, 320, 320)
    assert pictures.sizes.shape == (20, 2)
    assert set(np.unique(pictures.sizes)) == {160, 192, 224, 256, 288, 320}
    assert 7 <= (pictures.sizes[:, 0] == pictures.sizes[:, 1]).sum() < 15
    check_fit(pictures.sizes, pictures.inputs, FRAMES, "photographs_sizes")
    np.testing.assert_array_equal(pictures.inputs["mask"].sum(axis=(1, 2, 3)), pictures.sizes.prod(axis=1))


@pytest.mark.process
def test_masked_lite0_leaves_padding_out_and_lite0_does_not(pictures: Any) -> None:
    plain = workloads.load_model({"name": "lite0", "_target_": "sweep.workloads.efficientnet.lite0"})
    masked = workloads.load_model({"name": "masked", "_target_": "sweep.workloads.efficientnet.lite0_masked"})
    framed = workloads.run_reference(masked, tuple(array[:4] for array in pictures.inputs.values()))[0]
    smeared = workloads.run_reference(plain, (pictures.inputs["image"][:4],))[0]
    for number, (height, width) in enumerate(pictures.sizes[:4].tolist()):
        alone = workloads.run_reference(plain, (pictures.inputs["image"][number : number + 1, :, :height, :width],))[0]
        np.testing.assert_allclose(framed[number], alone[0], atol=1e-4)
        assert np.abs(smeared[number] - alone[0]).max() > 0.5
    assert (framed.argmax(axis=1) == pictures.labels[:4]).sum() >= 3
