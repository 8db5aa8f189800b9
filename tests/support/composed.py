"""What Hydra has composed once is kept: most tests start from the same few configs, which take as long as a sweep."""

import pickle
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

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


def remembered_files(load: Load) -> Load:
    """In the place of `FileConfigSource.load_config`: each file is parsed once, unless it has changed."""
    known: dict[Any, bytes] = {}

    def load_config(self: Any, config_path: str) -> Any:
        path = Path(self.path, self._normalize_file_name(config_path))
        if not path.is_file():
            return load(self, config_path)  # which says so
        stat = path.stat()
        key = (self.path, self.provider, config_path, path.resolve(), stat.st_mtime_ns, stat.st_size)
        if key not in known:
            known[key] = pickle.dumps(load(self, config_path))
        return pickle.loads(known[key])

    return load_config
