"""Everything that we use of Hydra beyond its plugin classes: what a new version of Hydra can break is here.

No other module of ours imports from `hydra._internal` or `hydra.core`. Import this one inside functions: it takes
tenths of a second, and most verbs compose nothing.
"""

import argparse
import copy
import functools
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import hydra
from hydra import version
from hydra._internal.callbacks import Callbacks
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import ConfigRepository
from hydra._internal.utils import create_config_search_path, get_args_parser
from hydra.core.config_loader import ConfigLoader
from hydra.core.config_search_path import ConfigSearchPath, SearchPathQuery
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Glob, Override, Quote, QuotedString, Transformer
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, JobStatus, setup_globals
from hydra.plugins.config_source import ConfigResult
from hydra.types import HydraContext, RunMode
from omegaconf import DictConfig

from sweep import backends
from sweep.backends.options import list_defaults

# Hydra 1.3 must be told to behave as it does; 1.4 knows no other behaviour and warns whoever tells it.
_BASE = {"version_base": "1.3"} if hydra.__version__.startswith("1.3.") else {}

__all__ = ["ConfigLoader", "Glob", "JobReturn", "JobStatus", "Override"]


def config_loader(main: Path, extra: Path | None) -> ConfigLoader:
    """Hydra's loader over a folder of configs and, in front of nothing but the schema, one more."""
    if _BASE:
        version.setbase(_BASE["version_base"])
    setup_globals()
    _store_options()
    path = create_config_search_path(str(main))
    if extra is not None:
        path.prepend(provider="command-line", path=f"file://{extra}", anchor=SearchPathQuery(provider="schema"))
    loader = ConfigLoaderImpl(config_search_path=path)
    loader.repository = _Repository(path)
    return loader


class _Repository(ConfigRepository):
    """Reads each file once; Hydra's own reads all of them for every composition and for every list of choices."""

    def __init__(self, config_search_path: ConfigSearchPath) -> None:
        super().__init__(config_search_path)
        self._configs: dict[tuple[str, ...], bytes] = {}

    def __deepcopy__(self, memo: Any) -> "_Repository":
        """Hydra makes a copy to give it another list of sources; a whole copy would copy every stored config too."""
        return copy.copy(self)

    def load_config(self, config_path: str) -> ConfigResult | None:
        """A config of its own for each caller, since Hydra changes what it gets."""
        key = (*(source.path for source in self.sources), config_path)
        if key not in self._configs:
            self._configs[key] = pickle.dumps(super().load_config(config_path))
        config: ConfigResult | None = pickle.loads(self._configs[key])
        return config


def _store_options() -> None:
    for name in backends.names():
        _store(name)


@functools.cache  # Hydra warns where a config is stored twice
def _store(name: str) -> None:
    """The default options of a backend, as the config `backend/options/NAME`."""
    node = list_defaults(backends.get(name).options_type)
    ConfigStore.instance().store(group="backend/options", name=name, node=node)


def compose(loader: ConfigLoader, name: str, overrides: Sequence[str], *, multirun: bool = False) -> DictConfig:
    """The config of these overrides."""
    return loader.load_configuration(name, list(overrides), RunMode.MULTIRUN if multirun else RunMode.RUN)


def choices(loader: ConfigLoader, group: str, name: str, overrides: Sequence[str]) -> list[str]:
    """The choices of a config group in every folder of the search path; empty if it is not a group."""
    return loader.get_group_options(group, ObjectType.CONFIG, name, list(overrides))


def parse(lines: Sequence[str]) -> list[Override]:
    """Overrides as Hydra reads them."""
    return OverridesParser.create().parse_overrides(list(lines))


def parser() -> argparse.ArgumentParser:
    """The parser of Hydra's own options."""
    parser: argparse.ArgumentParser = get_args_parser()
    return parser


def write_value(value: Any) -> str:
    """A value as the override grammar writes it; texts that it would read as something else are `quote` already."""
    return str(Transformer.str(value))


def quote(text: str) -> Any:
    """A text that the override grammar reads as this text, whatever is in it."""
    return QuotedString(text, Quote.single)


def launcher(context: HydraContext, task: Any, config: DictConfig) -> Any:
    """The launcher that a config names."""
    return Plugins.instance().instantiate_launcher(hydra_context=context, task_function=task, config=config)


def sweeper(loader: ConfigLoader, name: str, master: DictConfig, task: Any) -> Any:
    """The sweeper that a composed config names, as Hydra's multirun begins with it."""
    HydraConfig.instance().set_config(master)
    callbacks = Callbacks(master)
    callbacks.on_multirun_start(config=master, config_name=name)
    context = HydraContext(config_loader=loader, callbacks=callbacks)
    return Plugins.instance().instantiate_sweeper(config=master, hydra_context=context, task_function=task)


def main(folder: Path, name: str, task: Any) -> None:
    """Hydra's own entry, with the command line of the process."""
    _store_options()
    hydra.main(config_path=str(folder), config_name=name, **_BASE)(task)()
