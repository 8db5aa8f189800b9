"""Versions of distributions in this interpreter, read without importing them. Worker side, Python 3.8."""

from importlib import metadata
from typing import Dict, Iterable, Optional


def versions(names: Iterable[str]) -> Dict[str, Optional[str]]:
    """Version of each distribution, None where it is missing."""
    return {name: _version(name) for name in names}


def _version(name: str) -> Optional[str]:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
