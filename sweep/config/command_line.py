"""The front of declaring: where the configs are, how a command line is read, and the entry that runs a sweep.

`python -m sweep ARGUMENTS` comes here. Hydra finds the configs, the sweeper and the launcher; the sweeper says which
trials there are (`axes`), the launcher makes them (`compose`) and hands them to the engine.
"""

import argparse
import os
import sys
import warnings
from collections.abc import Sequence
from typing import Any, NoReturn

from sweep.config.compose import Composer, find_conf_dir, make_loader, shared_composer, translate_errors
from sweep.spec import UserError

_SHORT = {"-p": "--package", "-cp": "--config-path", "-cn": "--config-name", "-cd": "--config-dir", "-c": "--cfg"}
_SHORT |= {"-m": "--multirun", "-r": "--run", "-h": "--help", "-i": "--info", "-sc": "--shell-completion"}
WITH_VALUE = {"--package", "--config-path", "--config-name", "--config-dir", "--cfg", "--experimental-rerun"}
ACTIONS = {"--help", "--hydra-help", "--version", "--cfg", "--info", "--shell-completion", "--experimental-rerun"}


def main_argv(argv: Sequence[str]) -> list[str]:
    """The command line with its flags in front of the overrides, wherever they were typed.

    `--multirun` comes first and is added where it is missing, except for Hydra's flags that only show something
    (--help, --cfg, --info, --version, ...). `+experiment=x` becomes `experiment=x`.
    """
    flags: list[str] = []
    overrides: list[str] = []
    rest = list(argv)
    while rest:
        word = rest.pop(0)
        if not word.startswith("-"):
            overrides.append(word.lstrip("+") if word.lstrip("+").startswith("experiment=") else word)
            continue
        name, equals, value = word.partition("=")
        name = _SHORT.get(name, name)
        if name in ("--multirun", "--run"):  # a single trial is a sweep of one
            continue
        flags.append(name + equals + value)
        optional = name == "--info" and "=" not in "".join(rest[:1])
        if rest and not equals and (name in WITH_VALUE or optional):
            flags.append(rest.pop(0))
    shows = any(flag.partition("=")[0] in ACTIONS for flag in flags)
    return [*([] if shows else ["--multirun"]), *flags, *overrides]


def run(argv: Sequence[str]) -> int:
    """Do what the command line says; the exit status of the sweep: see `spec.exits`.

    Raises:
        UserError: for bad input. The caller shows it as one line and exits 1.
        SystemExit: from Hydra's own flags, such as --help.
    """
    arguments = main_argv(argv)
    known = _parsed(arguments)
    if arguments[0] != "--multirun":
        return _show(arguments)
    composer, task = _composer(known)
    return _sweep(composer, task)


def _parsed(arguments: list[str]) -> argparse.Namespace:
    """Hydra's own options.

    Raises:
        UserError: for an option that does not exist, where Hydra would print its usage and exit.
    """
    from sweep.config import hydra_api

    def wrong(message: str) -> NoReturn:
        raise UserError(f"{message}: `python -m sweep --help` lists the options; settings are KEY=VALUE without dashes")

    parser = hydra_api.parser()
    parser.error = wrong  # type: ignore[method-assign]  # the class is Hydra's to choose
    return parser.parse_args(arguments)


def _composer(known: argparse.Namespace) -> tuple[Composer, list[str]]:
    """The composer for a parsed command line, and the overrides that are ours."""
    from sweep.config import hydra_api

    with translate_errors():
        parsed = hydra_api.parse(known.overrides)
    theirs = tuple(override.input_line or "" for override in parsed if override.is_hydra_override())
    ours = [override.input_line or "" for override in parsed if not override.is_hydra_override()]
    composer = shared_composer(make_loader(known.config_dir, known.config_path), theirs, known.config_name or "config")
    return composer, ours


def _sweep(composer: Composer, task: list[str]) -> int:
    """What Hydra's multirun does, without its second composing, its log files and its tracebacks.

    Hydra sees its own overrides and the chosen groups (an experiment may choose a sweeper); every other override is
    judged by our schema alone, so that there is one kind of error message.
    """
    from sweep.config import hydra_api

    groups = [line for line in task if not composer.parse(line).is_sweep_override() and composer.item(line).group]
    with translate_errors(), warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # a folder of hydra.searchpath that is not there
        try:
            lines = [*composer.hydra_overrides, *groups]
            master = hydra_api.compose(composer.loader, composer.config_name, lines, multirun=True)
        except UserWarning as warning:
            raise UserError(f"hydra.searchpath: {warning}") from warning
    composer.remember(groups, master)
    with translate_errors():
        sweeper = hydra_api.sweeper(composer.loader, composer.config_name, master, _no_task)
    status = sweeper.sweep(arguments=task)
    sweeper.hydra_context.callbacks.on_multirun_end(config=master, config_name=composer.config_name)
    return status if isinstance(status, int) else 0


def _show(arguments: list[str]) -> int:
    """Hydra's own flags, through Hydra's own entry."""
    from sweep.config import hydra_api

    overrides = [word for word in arguments if not word.startswith("-") and "=" in word]
    if any(flag.partition("=")[0] == "--cfg" for flag in arguments):
        composer, ours = _composer(_parsed(arguments))
        trial = composer.trial(ours)
        if not any(line.startswith("data=") for line in overrides):
            arguments = [*arguments, f"data={trial.data['name']}"]
    before, full = sys.argv, os.environ.get("HYDRA_FULL_ERROR")
    sys.argv = [before[0], *arguments]
    os.environ["HYDRA_FULL_ERROR"] = "1"  # exceptions come here instead of being printed
    try:
        with translate_errors():
            hydra_api.main(find_conf_dir(), "config", _no_task)
    except ValueError as error:  # Hydra's word for flags that do not go together
        raise UserError(" ".join(str(error).split())) from error
    finally:
        sys.argv = before
        os.environ.pop("HYDRA_FULL_ERROR")
        if full is not None:
            os.environ["HYDRA_FULL_ERROR"] = full
    return 0


def _no_task(config: Any) -> None:
    """Hydra wants a function for each job; ours are run by the engine, all together."""
