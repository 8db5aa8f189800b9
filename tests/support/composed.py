"""What Hydra has composed once is kept: most tests start from the same few configs, which take as long as a sweep."""

import copy
import functools
import pickle
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from sweep.config.compose import find_conf_dir

Load = Callable[..., Any]


def remembered(load: Load) -> Load:
    """In the place of `ConfigLoaderImpl.load_configuration`: the same search path and overrides give the same config.

    Every caller gets a copy of its own. What cannot be composed is not remembered.
    """
    known: dict[Any, bytes] = {}

    def load_configuration(self: Any, config_name: Any, overrides: Sequence[str], run_mode: Any, **more: Any) -> Any:
        key = (str(self.get_search_path()), config_name, tuple(overrides), run_mode, tuple(more.items()), Path.cwd())
        if key not in known:
            known[key] = pickle.dumps(load(self, config_name, overrides, run_mode, **more))
        return pickle.loads(known[key])

    return load_configuration


def shared_files(load: Load) -> Load:
    """In the place of `hydra_api.config_loader`: the configs that come with sweep are parsed once for all loaders."""
    known = functools.cache(load)

    def config_loader(main: Path, extra: Path | None) -> Any:
        """A loader of its own for each caller, since composers are known by their loaders."""
        is_ours = extra is None and main == find_conf_dir()
        return copy.copy(known(main, None)) if is_ours else load(main, extra)

    return config_loader
