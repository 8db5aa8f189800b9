"""Names of models that a path gives, and how a path is typed so that Hydra reads it as it is."""

import re
import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path, PurePath

from sweep.spec import Trial, UserError

PATH = "model.path"
AS_PATH = re.compile(r"/|\.\w+$")  # a value that looks like the path of a file


def name_model(trial: Trial) -> Trial:
    """The trial, named after its model's file where a setting gives it: `a` of `model.path=lib/a.onnx`."""
    path = find_path(trial)
    return trial if path is None else replace(trial, model_name=PurePath(path).stem)


def find_path(trial: Trial) -> str | None:
    """The path of the model that the settings of a trial give; None if none of them does."""
    typed = any(line.lstrip("+").startswith(f"{PATH}=") for line in trial.overrides)
    path = trial.model.get("path")
    return str(path) if typed and path and PurePath(str(path)).stem else None


def tell_models_apart(trials: Sequence[Trial]) -> list[Trial]:
    """The trials, where models of one file name are named after the part in which their paths differ."""
    paths: dict[str, dict[str, None]] = {}
    for trial in trials:
        if not trial.deployment and (path := find_path(trial)) is not None:
            paths.setdefault(trial.model_name, {})[path] = None
    names = {path: name for same in paths.values() if len(same) > 1 for path, name in name_paths(list(same)).items()}
    return [replace(t, model_name=names.get(find_path(t) or "", t.model_name)) if names else t for t in trials]


def name_paths(paths: Sequence[str]) -> dict[str, str]:
    """The part of each path in which it differs from the others: `v1` of `lib/v1/net.onnx` beside `lib/v2/net.onnx`."""
    parts = {path: PurePath(path).parts for path in paths}
    shortest = min(map(len, parts.values()))
    tail = next((n for n in range(shortest) if len({own[-1 - n] for own in parts.values()}) > 1), shortest)
    rest = {path: own[: len(own) - tail] for path, own in parts.items()}
    least = min(map(len, rest.values()))
    head = next((n for n in range(least) if len({own[n] for own in rest.values()}) > 1), least)
    return {path: "_".join(own[head:]).strip("/") or PurePath(path).stem for path, own in rest.items()}


def hint_quotes(line: str) -> str:
    """How to type an override whose value is a path that Hydra cannot read as it stands; else empty."""
    key, equals, value = line.partition("=")
    if not equals or not AS_PATH.search(value) or value[:1] in "[{\"'":
        return ""
    return f"; a path with such characters is typed in quotes: {quote(key, value)}"


def quote(key: str, value: str) -> str:
    """`key=value` for a shell, so that Hydra takes the value as it is: `'model.path="a,b.onnx"'`."""
    escaped = value.replace('\\"', '\\\\"').replace('"', '\\"')
    return shlex.quote(f'{key}="{escaped}"')


def refuse_cut_path(line: str, values: Sequence[str]) -> None:
    """Raises UserError if a comma makes several values of the name of one file that is there."""
    key, _, whole = line.partition("=")
    if "," not in whole or not AS_PATH.search(whole) or not Path(whole).exists():
        return
    if all(Path(value).exists() for value in values):
        return
    raise UserError(
        f"{line} is {len(values)} values, {' and '.join(values)}, but there is a file {whole}: "
        f"type {quote(key, whole)} to mean that"
    )
