"""Files that are whole or not there: written aside, forced to disk, renamed. Hashes and sizes of trees.

Worker side, Python 3.8.
"""

import errno
import fcntl
import hashlib
import json
import os
import shutil
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Callable, Dict, Iterator, Optional

if TYPE_CHECKING:
    import numpy as np

DRAFT = ".draft-"  # a name that starts like this is being written, or is rubbish
FULL = (errno.ENOSPC, errno.EDQUOT)


def describe_write_error(error: OSError, where: Path) -> str:
    """One line that says why a folder cannot be written and what to do."""
    if error.errno in FULL:
        return f"disk full: {where}: free some space, or remove old builds with `python -m sweep builds clean`"
    return f"cannot write {where}: {error.strerror}; choose another folder with outputs=FOLDER"


def make_draft(parent: Path, name: str) -> Path:
    """A new folder to fill before it is renamed to `name`."""
    folder = parent / f"{DRAFT}{name}-{os.urandom(4).hex()}"
    folder.mkdir(parents=True)
    return folder


@contextmanager
def hold_draft(parent: Path, name: str, wait: Callable[[], None]) -> Iterator[Path]:
    """The one draft of `name`, which nobody else has meanwhile; it may hold what a killed process has begun.

    Somebody else may have finished `parent/name` while this waited, so look again.

    Args:
        wait: called before every further try while another process has the draft.
    """
    folder = parent / f"{DRAFT}{name}"
    while True:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        except (FileNotFoundError, FileExistsError):  # it was renamed just now
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_open_as(lock, folder):
                yield folder
                return
        except BlockingIOError:
            wait()
        finally:
            os.close(lock)


def remove_if_free(draft: Path) -> None:
    """Remove a draft unless somebody holds it: see `hold_draft`."""
    try:
        lock = os.open(draft, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:
        return
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        remove(draft)
    except BlockingIOError:
        pass
    finally:
        os.close(lock)


def _is_open_as(file: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file), path.stat())
    except FileNotFoundError:
        return False


def describe(artifact: Path) -> Dict[str, Any]:
    """Size and SHA-256 of every file of a tree, by relative path; a link counts as the text that it holds."""
    names = sorted(path for path in artifact.rglob("*") if path.is_symlink() or path.is_file())
    return {path.relative_to(artifact).as_posix(): {"bytes": size(path), "sha256": sha256(path)} for path in names}


def size(path: Path) -> int:
    return path.lstat().st_size


def sha256(path: Path) -> str:
    if path.is_symlink():
        text = os.readlink(str(path))  # noqa: PTH115  # Path.readlink is younger
        return hashlib.sha256(os.fsencode(text)).hexdigest()
    total = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            total.update(block)
    return total.hexdigest()


def keep_only(folder: Path, name: str) -> None:
    """Remove everything else from a folder."""
    for path in folder.iterdir() if folder.is_dir() else ():
        if path.name != name:
            remove(path)


def remove(path: Path) -> None:
    """Remove a file or a tree. A tree is renamed first, so that its name is free at once, even if deleting fails."""
    if path.is_dir() and not path.is_symlink():
        name = path.name[len(DRAFT) :] if path.name.startswith(DRAFT) else path.name
        doomed = path.with_name(f"{DRAFT}{name}-gone-{os.urandom(4).hex()}")
        try:
            path.rename(doomed)
        except OSError:
            doomed = path
        shutil.rmtree(doomed, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def move(aside: Path, final: Path) -> None:
    """Rename into place, unless somebody was first."""
    try:
        aside.rename(final)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
    flush_folder(final.parent)


def touch(path: Path) -> None:
    """Set the time at which a file was last used."""
    try:
        os.utime(path)
    except OSError:  # a read-only store still serves
        pass


def write_whole(path: Path, text: str) -> None:
    """Replace a file: a reader sees the old text or the new, also after a power cut."""
    with _written_aside(path) as file:
        file.write(text.encode("utf-8"))
    flush_folder(path.parent)


def write_json(path: Path, value: Any) -> None:
    """Replace a file: a reader sees the old value or the new one. Not forced to disk, which takes milliseconds."""
    aside = _aside(path)
    aside.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")
    aside.replace(path)


def read_json(path: Path) -> Dict[str, Any]:
    """The object in a file; empty if there is no file, or it was cut off when a sweep was killed."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def _aside(path: Path) -> Path:
    return path.with_name(f"{path.name}.{os.getpid()}.part")  # two sweeps may write the same file at once


def flush(folder: Path) -> None:
    """Force a tree to disk, so that a marker never describes what a power cut took."""
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink():
            with path.open("rb") as file:
                os.fsync(file.fileno())
        elif path.is_dir() and not path.is_symlink():
            flush_folder(path)
    flush_folder(folder)


def flush_folder(folder: Path) -> None:
    """Force the names in a folder to disk."""
    file = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(file)
    finally:
        os.close(file)


def save_arrays(path: Path, arrays: "Dict[str, np.ndarray]") -> None:
    """Write an .npz: a reader never sees half of it."""
    import numpy as np

    with _written_aside(path) as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]  # numpy's stub reads **arrays as its options


def load_arrays(path: Path) -> "Dict[str, np.ndarray]":
    """The arrays of an .npz."""
    import numpy as np

    with np.load(path) as stored:
        return {name: stored[name] for name in stored.files}


@contextmanager
def _written_aside(path: Path) -> Iterator[BinaryIO]:
    """A file to write beside `path`, which is then forced to disk and renamed."""
    aside = _aside(path)
    with open(aside, "wb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())
    aside.replace(path)


def find_neuron_tool(name: str, root: Path = Path("/")) -> Optional[str]:
    """Path of a Neuron tool: on PATH, or where its package puts it; None if there is none."""
    path = shutil.which(name)
    usual = root / "opt/aws/neuron/bin" / name
    return path or (str(usual) if os.access(str(usual), os.X_OK) and usual.is_file() else None)
