"""Reading an artifact: a missing or damaged file is another failure than a framework that fails."""

import contextlib
from pathlib import Path
from typing import Iterator

from sweep.spec import FailureKind, TrialError, UserError

PASSED_ON = (TrialError, UserError, MemoryError, ImportError)


@contextlib.contextmanager
def reading(path: Path) -> Iterator[Path]:
    """Around the load of the file `path`: failures become `artifact_incompatible`, except of memory and imports.

    Raises:
        TrialError: with the first line of the framework's error.
    """
    if not path.is_file():
        raise TrialError(FailureKind.ARTIFACT_INCOMPATIBLE, "the artifact has no %s" % path.name)
    try:
        yield path
    except PASSED_ON:
        raise
    except Exception as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        if "memory" in lines[0].lower():
            raise
        summary = "the artifact's %s (%d bytes) cannot be loaded: %s" % (path.name, path.stat().st_size, lines[0])
        raise TrialError(FailureKind.ARTIFACT_INCOMPATIBLE, summary) from error
