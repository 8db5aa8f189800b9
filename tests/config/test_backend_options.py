"""The options of backends: one declaration, from which the check, what causes a build and the docs follow.

`python -m tests.config.test_backend_options` writes docs/reference/options.md anew.
"""

import json
import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from sweep import backends
from sweep.backends.fake import FAULTS
from sweep.backends.options import list_compile_time, list_defaults
from sweep.config import compose, schema
from sweep.config.axes import expand
from sweep.config.compose import Composer
from sweep.config.structure import structure
from sweep.engine import plan
from sweep.spec import UserError, to_json
from sweep.spec.declared import rules_of

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "reference" / "options.md"
HEAD = """# Options of backends

What may be set under `backend.options`, with its default. Several values make an axis:

    python -m sweep backend=onnxruntime backend.options.optimization=basic,all

An option marked *build* changes the artifact, so another value is another build; the others act when it runs.
`python -m sweep --cfg job backend=onnxruntime` shows what a sweep would take. The tables are made from the classes in
`sweep/backends/`.
"""


def page() -> str:
    """The whole of docs/options.md."""
    return HEAD + "".join(f"\n## {name}\n\n{table(name)}" for name in backends.names())


def table(name: str) -> str:
    kind = backends.get(name).options_type
    rows = ["| option | default | build | what it means |", "|---|---|---|---|"]
    for option, value in json.loads(json.dumps(vars(kind()))).items():
        rule = rules_of(kind)[option]
        choices = " \\| ".join(map(str, rule.choices)) if 1 < len(rule.choices) <= 6 else ""
        cells = [f"`{option}`", f"`{json.dumps(value)}`", "yes" if rule.compile_time else ""]
        rows.append(f"| {' | '.join(cells)} | {rule.help}{f' ({choices})' if choices else ''} |")
    return "\n".join(rows) + "\n"


def test_the_page_is_what_the_classes_declare() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "write it anew: python -m tests.config.test_backend_options"


def test_unknown_fault_is_refused_with_all_that_are_known() -> None:
    with pytest.raises(UserError) as error:
        schema.check("backend", {"name": "fake", "options": {"fault": "build_explode"}})
    assert all(fault in str(error.value) for fault in FAULTS)


@pytest.mark.parametrize("name", backends.names())
def test_every_default_is_of_its_type_and_every_option_says_what_it_means(name: str) -> None:
    kind = backends.get(name).options_type
    assert to_json(structure(kind, "backend.options", list_defaults(kind))) == to_json(kind())
    for option, rule in rules_of(kind).items():
        assert rule.help, option
        assert not rule.help.endswith("."), option
    assert set(list_defaults(kind)) | UNLISTED >= {field.name for field in fields(kind)}


UNLISTED = {"slow", "transformer"}  # parts of a config only where they are set: what is stored keeps its identity
AT_RUN_TIME = {
    "fake": {
        *(
            "latency_ms",
            "overhead_ms",
            "unit_ms",
            "uneven_ms",
            "parallel",
            "busy",
            "stall_ms",
            "stall_every_ms",
            "noise",
        ),
        *("dynamic_batch", "slow"),
    },
    "neuronx": {"spread"},
    "onnxruntime": {"allow_spinning"},
    "replay": {"table", "stack", "where"},
    "tensorflow_neuron": {"monitor"},
    "tensorflow_neuronx": {"monitor"},
    "torchscript": {"optimize"},
}


@pytest.mark.parametrize("name", backends.names())
def test_what_acts_at_run_time_causes_no_build(name: str) -> None:
    kind = backends.get(name).options_type
    assert set(rules_of(kind)) - set(list_compile_time(kind)) == AT_RUN_TIME.get(name, set())


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("onnxruntime", {"optimization": "most"}, "must be one of all, extended, basic, none, not 'most'"),
        ("onnxruntime", {"optimization": "extende"}, "did you mean 'extended'?"),
        ("onnxruntime", {"int8_convolution": True}, "did you mean 'backend.options.int8_convolutions'?"),
        ("onnxruntime", {"allow_spinning": 1}, "backend.options.allow_spinning must be true or false, not 1"),
        ("openvino", {"calibration_samples": 0}, "calibration_samples must be an integer >= 1, not 0"),
        ("torch", {"channels_last": "never"}, "channels_last must be one of auto, true, false, not 'never'"),
        ("replay", {"tabel": "x"}, "no key 'backend.options.tabel': did you mean 'backend.options.table'?"),
        ("neuron", {"cast": "none"}, "cast must be one of all, matmult, not 'none'"),
        (
            "neuron",
            {"extra_args": [1]},
            "must be words for the compiler, each in quotes like ['-O2'], not [1]",
        ),
        ("neuronx", {"target": "inf3"}, "target must be one of auto, inf2, trn1, trn1n, trn2, not 'inf3'"),
        ("neuronx", {"auto_cast": "none"}, "auto_cast must be one of all, matmult, not 'none'"),
        ("neuronx", {"optlevel": 4}, "optlevel must be one of 1, 2, 3, not 4"),
        ("neuronx", {"optlevel": "2"}, "optlevel must be one of 1, 2, 3, not '2'"),
        ("neuronx", {"spread": "both"}, "spread must be one of data_parallel, replicate, not 'both'"),
        ("neuronx", {"partition": {"threshold": 1}}, "partition (its keys) must be one of model_support"),
        ("tensorflow_neuron", {"fp32_cast": "some"}, "fp32_cast must be one of all, matmult, not 'some'"),
        ("tensorflow_neuron", {"verbose": "loud"}, "verbose must be one of debug, info, warning, error, critical"),
        ("tensorflow_neuronx", {"optlevel": 5}, "optlevel must be one of 1, 2, 3, not 5"),
    ],
)
def test_a_wrong_option_is_one_line_with_the_fix(name: str, options: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError) as error:
        schema.check("backend", {"name": name, "options": options})
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_an_option_that_came_later_is_no_part_of_what_a_trial_was() -> None:
    (trial,) = trials("model=tiny backend=fake")
    assert "slow" not in trial.backend["options"]
    (slow,) = trials("model=tiny backend=fake +backend.options.slow={file:x,factor:2}")
    assert slow.backend["options"]["slow"] == {"file": "x", "factor": 2}


def trials(words: str) -> list[Any]:
    composer = Composer(compose.make_loader())
    return composer.trials(expand(words.split(), composer))


def keys(words: str) -> list[list[str]]:
    """Of every trial its own key and those of its builds; of a declared hardware, as this host is part of `local`."""
    lines = words if "hardware=" in words else words + " hardware=c5_2xlarge"
    return [[trial.key, *(spec.key for spec in plan.list_build_specs(trial))] for trial in trials(lines)]


IDENTITIES = json.loads((ROOT / "tests" / "data" / "identities.json").read_text())


@pytest.mark.parametrize("words", IDENTITIES, ids=lambda words: re.sub(r"\W+", "_", words)[:60])
def test_what_an_earlier_version_stored_is_found_again(words: str) -> None:
    """The keys are those that version f9dda2f computed."""
    assert keys(words) == IDENTITIES[words]


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
