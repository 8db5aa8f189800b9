"""Code of the user's that ends the process says why, as a mistake of the user."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sweep import workloads
from sweep.spec import UserError
from sweep.workloads import Dataset


def parses() -> Any:
    import argparse

    parser = argparse.ArgumentParser(prog="train.py")
    parser.add_argument("--weights", required=True)
    return parser.parse_args([])


def leaves(code: Any = None) -> Any:
    sys.exit(code)


def yields() -> Iterator[Dataset]:
    print("no licence on this machine", file=sys.stderr)
    sys.exit(3)
    yield Dataset({}, None, {})


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"_target_": "parses"}, "train.py: error: the following arguments are required: --weights"),
        ({"_target_": "leaves", "code": "no GPU here"}, "no GPU here"),
        ({"_target_": "leaves", "code": 7}, r"sys.exit\(7\)"),
        ({"_target_": "leaves"}, r"sys.exit\(None\)"),
    ],
)
def test_a_factory_that_ends_the_process(config: dict[str, Any], words: str) -> None:
    before = sys.stderr
    for group, load in (("model", workloads.load_model), ("data", workloads.load_data)):
        target = f"{__name__}.{config['_target_']}"
        with pytest.raises(UserError, match=f"{group} {target} ends the process: {words}; it reads no command line"):
            load({**config, "_target_": target})
    assert sys.stderr is before


def test_a_module_that_parses_arguments_when_it_is_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "parsing_script.py").write_text(
        "import argparse\nparser = argparse.ArgumentParser()\n"
        "parser.add_argument('steps', type=int)\nparser.parse_args(['a'])\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UserError, match="argument steps: invalid int value: 'a'"):
        workloads.load_model({"_target_": "parsing_script.make"})


def test_a_data_set_that_ends_the_process_while_it_is_read() -> None:
    with pytest.raises(UserError, match="data mine ends the process: no licence on this machine"):
        workloads.load_data({"name": "mine", "_target_": f"{__name__}.yields"})


def test_a_plug_in_that_ends_the_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from sweep import backends

    (tmp_path / "leaving_backend.py").write_text("raise SystemExit('not on a Monday')\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(backends._table(), "leaving", "leaving_backend:Leaving")
    with pytest.raises(UserError, match="backend leaving ends the process: not on a Monday"):
        backends.get("leaving")
