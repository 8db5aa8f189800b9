"""Rows of models that paths give can be told apart, and a path is typed so that it is read as it is."""

import shlex
from pathlib import Path

import pytest

from sweep.config import axes, naming
from sweep.report.names import find_varying
from sweep.spec import Trial, UserError
from sweep.store import query
from tests.support.planning import shared_composer

FILES = ("model=onnx", "data=npz", "data.path=x.npz")
AWKWARD = "=()[]{}#',ö &;!~\"$"


def trials_of(*arguments: str) -> list[Trial]:
    composer = shared_composer()
    return composer.trials(axes.expand(list(arguments), composer))


def test_settings_of_two_groups_keep_their_full_names() -> None:
    first, second = trials_of(*FILES, "model.path=a.onnx,b.onnx")
    assert (first.settings["model.path"], first.settings["data.path"]) == ("a.onnx", "x.npz")
    assert "path" not in first.settings
    assert find_varying([first.settings, second.settings]) == ["model.path"]


def test_a_setting_with_the_name_of_an_axis_keeps_its_full_name() -> None:
    (trial,) = trials_of(
        "model=custom", "model._target_=m.make", "+model.batch=7", "data=npz", "data.path=x.npz", "batch=2"
    )
    assert (trial.settings["batch"], trial.settings["model.batch"]) == (2, "7")
    assert "model.batch=7" in trial.label


def test_a_setting_alone_has_its_last_name() -> None:
    (trial,) = trials_of("backend=onnxruntime", "backend.options.allow_spinning=false")
    assert trial.settings["allow_spinning"] == "false"


def test_models_of_paths_have_labels_of_their_own() -> None:
    labels = [trial.label for trial in trials_of(*FILES, "model.path=lib/a.onnx,lib/b.onnx")]
    assert labels == ["a-onnxruntime-fp32-b1-c1", "b-onnxruntime-fp32-b1-c1"]


def test_models_of_one_file_name_are_named_after_what_differs() -> None:
    trials = trials_of(*FILES, "model.path=lib/v1/net.onnx,lib/v2/net.onnx")
    assert [trial.label.partition("-")[0] for trial in trials] == ["v1", "v2"]


def test_the_name_is_no_part_of_the_identity() -> None:
    (alone,) = trials_of(*FILES, "model.path=lib/v1/net.onnx")
    beside, _ = trials_of(*FILES, "model.path=lib/v1/net.onnx,lib/v2/net.onnx")
    assert alone.model_name != beside.model_name
    assert alone.key == beside.key


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (("/a/v1/x/net.onnx", "/a/v2/x/net.onnx"), ("v1", "v2")),
        (("a/net.onnx", "a/net.pt"), ("net.onnx", "net.pt")),
        (("net.onnx", "old/net.onnx"), ("net", "old")),
        (("a/b/net.onnx", "c/d/net.onnx"), ("a_b", "c_d")),
    ],
)
def test_the_part_of_a_path_that_differs(paths: tuple[str, str], names: tuple[str, str]) -> None:
    assert tuple(naming.name_paths(paths).values()) == names


def test_words_find_a_setting_by_its_full_name_and_by_its_last() -> None:
    rows = [{"model.path": "a.onnx", "allow_spinning": "false"}]
    assert query.parse_wanted(["path=a.onnx"], rows) == {"model.path": "a.onnx"}
    assert query.parse_wanted(["backend.options.allow_spinning=false"], rows) == {"allow_spinning": "false"}
    with pytest.raises(UserError, match="no axis 'path'"):
        query.parse_wanted(["path=a.onnx"], [{"model.path": "a.onnx", "data.path": "x.npz"}])


@pytest.mark.parametrize("character", [c for c in AWKWARD if c not in ", $"])
def test_a_path_that_cannot_be_read_is_shown_in_quotes(character: str) -> None:
    path = f"/tmp/a{character}b.onnx"
    with pytest.raises(UserError) as refused:
        trials_of(*FILES, f"model.path={path}")
    typed = str(refused.value).rpartition("typed in quotes: ")[2]
    (trial,) = trials_of(*FILES, *shlex.split(typed))
    assert trial.model["path"] == path


@pytest.mark.parametrize("character", AWKWARD)
def test_a_quoted_path_is_read_as_it_is(character: str) -> None:
    path = f"/tmp/a{character}b.onnx"
    (trial,) = trials_of(*FILES, *shlex.split(naming.quote("model.path", path)))
    assert trial.model["path"] == path


def test_no_hint_at_quotes_where_no_path_was_meant() -> None:
    with pytest.raises(UserError) as refused:
        trials_of("batch=[1,2")
    assert "quotes" not in str(refused.value)


def test_a_comma_in_the_name_of_one_file_is_said(tmp_path: Path) -> None:
    file = tmp_path / "a,b.onnx"
    file.touch()
    with pytest.raises(UserError, match="but there is a file") as refused:
        trials_of(*FILES, f"model.path={file}")
    (trial,) = trials_of(*FILES, *shlex.split(str(refused.value).partition("type ")[2].rpartition(" to mean")[0]))
    assert trial.model["path"] == str(file)


def test_a_comma_between_two_files_makes_two_trials(tmp_path: Path) -> None:
    for name in ("a.onnx", "b.onnx"):
        (tmp_path / name).touch()
    assert len(trials_of(*FILES, f"model.path={tmp_path}/a.onnx,{tmp_path}/b.onnx")) == 2
