"""The store of builds: one folder for each key, shared by every sweep that uses the same outputs folder.

    builds/KEY/artifact/...   what the build left
    builds/KEY/info.json      the marker, written last: files with sizes and hashes, or the failure that is remembered
    builds/.draft-KEY-*       being built; rubbish unless a process holds the lock of KEY
    locks/KEY                 held during a build; the kernel releases it when its process dies
    data/DIGEST, reference/DIGEST   arrays, whole because they are renamed into place

An entry without a marker, or one that its marker does not describe, is rubbish: it is removed and built again.
"""

import errno
import fcntl
import json
import os
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sweep import files
from sweep.spec import BuildSpec, Failure, FailureKind, Json, UserError, digest, from_json, to_json

FORMAT = 1  # of the marker and of what a key covers
LOCK_SECONDS = 0.1  # between two tries for a lock that another sweep holds
DAY_SECONDS = 86400.0
LOG = "log.txt"  # beside the artifact's files; the only one that a failed build keeps


@dataclass(frozen=True)
class Entry:
    """One finished build: an artifact in `folder`, or a failure."""

    key: str
    folder: Path  # of the artifact
    info: Json  # what the builder wrote
    failure: Failure | None
    seconds: float  # that the build took
    bytes: int
    created: float  # seconds since the epoch
    last_used: float


class Draft:
    """A build in progress; only its holder works on this key. It is thrown away unless `commit` or `fail` is called."""

    def __init__(self, store: "Store", key: str, aside: Path, existing: Entry | None) -> None:
        self._store, self._key, self._aside = store, key, aside
        self.existing = existing  # another sweep finished this build while we waited
        self.folder = aside / "artifact"  # to build into

    def commit(self, info: Json) -> Entry:
        """Make the folder's content the build of this key. A full disk gives an entry with that failure."""
        return self._keep(info, None, float(info.get("seconds", 0.0)))

    def fail(self, failure: Failure, info: Json | None = None, *, remember: bool = True) -> Entry:
        """Store that this build fails, so that the next sweep does not try it again; only the build's log is kept.

        Nothing is stored if `remember` is false or the failure is passing.
        """
        info = dict(info or {})
        if not remember or failure.kind.is_passing:
            return self._unstored(info, failure)
        files.keep_only(self.folder, LOG)
        return self._keep(info, failure, failure.seconds)

    def _keep(self, info: Json, failure: Failure | None, seconds: float) -> Entry:
        try:
            return self._store._finish(self._key, self._aside, info, failure, seconds)
        except OSError as error:
            if error.errno not in files.FULL:
                raise
            full = f"disk full: the build could not be stored: {error}"
            return self._unstored(info, failure or Failure(FailureKind.DISK_FULL, full, seconds=seconds))

    def _unstored(self, info: Json, failure: Failure) -> Entry:
        now = time.time()
        return Entry(self._key, self.folder, info, failure, failure.seconds, 0, now, now)


class Store:
    """The store under `root`. Safe between threads, processes and sweeps; folders are made when first needed."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._interrupted = threading.Event()

    @staticmethod
    def key(spec: BuildSpec, *, toolchain: Mapping[str, str], model: str, data: str) -> str:
        """The identity of a build: its request, the tools, the weights and the data."""
        parts = {"format": FORMAT, "spec": to_json(spec), "toolchain": dict(toolchain), "model": model, "data": data}
        return digest(parts)

    def get(self, key: str) -> Entry | None:
        """The finished build or remembered failure of a key, with its content checked; a damaged entry is removed."""
        folder = self._builds / key
        entry, marker = _load(folder, verify=True), folder / "info.json"
        if entry is not None:
            files.touch(marker)
        elif marker.exists():  # none at all is a build that goes on, or that was killed: `building` sees to that
            with _explain_errors(self.root), self._lock(key, wait=False) as held:
                if held and _load(folder, verify=True) is None:  # it may have been built again meanwhile
                    files.remove(folder)
        return entry

    @contextmanager
    def building(self, key: str) -> Iterator[Draft]:
        """Build a key alone: waits while another thread or process builds it.

        Raises:
            UserError: the store cannot be written.
            InterruptedError: `interrupt` was called while waiting.
        """
        called = time.time()
        with ExitStack() as stack:
            with _explain_errors(self.root):
                stack.enter_context(self._lock(key))
                existing = self._finished_since(key, called)
                aside = self._fresh_draft(key)
                stack.callback(files.remove, aside)
            yield Draft(self, key, aside, existing)

    def interrupt(self) -> None:
        """Raise InterruptedError in every thread that waits for another sweep's build."""
        self._interrupted.set()

    def entries(self) -> list[Entry]:
        """All builds and remembered failures, the least recently used first."""
        loaded = [_load(folder, verify=False) for folder in _list_folders(self._builds)]
        return sorted((entry for entry in loaded if entry is not None), key=lambda entry: entry.last_used)

    def clean(
        self,
        older_than_days: float | None = None,
        max_bytes: int | None = None,
        keys: Sequence[str] | None = None,
    ) -> list[Entry]:
        """Remove builds: those of `keys`, the unused ones, and the least recently used ones beyond a total size.

        Keeps what is being built, always removes the rubbish of killed builds, and returns the removed entries. The
        scores of builds that are gone go with them.
        """
        entries = self.entries()
        doomed = {entry.key for entry in entries if entry.key in set(keys or ())}
        if older_than_days is not None:
            oldest = time.time() - older_than_days * DAY_SECONDS
            doomed |= {entry.key for entry in entries if entry.last_used < oldest}
        if max_bytes is not None:
            total = sum(entry.bytes for entry in entries if entry.key not in doomed)
            for entry in entries:
                if total > max_bytes and entry.key not in doomed:
                    doomed.add(entry.key)
                    total -= entry.bytes
        removed = [entry for entry in entries if entry.key in doomed and self._discard(entry.key)]
        self._sweep_up()
        self._remove_orphans()
        return removed

    def _remove_orphans(self) -> None:
        """Remove the scores of builds that are gone; one that was used within a day may be somebody's just now."""
        kept, old = {entry.key for entry in self.entries()}, time.time() - DAY_SECONDS
        for marker in self.root.glob("scores/*/score.json"):
            if marker.stat().st_mtime < old and not kept.issuperset(files.read_json(marker).get("builds") or ()):
                files.remove(marker.parent)

    @property
    def _builds(self) -> Path:
        return self.root / "builds"

    def _finished_since(self, key: str, called: float) -> Entry | None:
        """What another sweep has built since `called`; None for an older failure, which is tried again."""
        entry = _load(self._builds / key, verify=True)
        if entry is None:
            files.remove(self._builds / key)
            return None
        return None if entry.failure is not None and entry.created < called else entry

    def _fresh_draft(self, key: str) -> Path:
        """We hold the lock, so every other draft of this key is a dead builder's."""
        for old in self._builds.glob(f"{files.DRAFT}{key}-*"):
            files.remove(old)
        aside = files.make_draft(self._builds, key)
        (aside / "artifact").mkdir()
        return aside

    def _finish(self, key: str, aside: Path, info: Json, failure: Failure | None, seconds: float) -> Entry:
        """Flush everything to disk, rename the folder, write the marker.

        Raises:
            OSError: the disk is full; nothing is left.
        """
        content = files.describe(aside / "artifact")
        marker = {
            "format": FORMAT,
            "key": key,
            "created": time.time(),
            "seconds": seconds,
            "bytes": sum(file["bytes"] for file in content.values()),
            "files": content,
            "failure": None if failure is None else to_json(failure),
            "info": to_json(info),
        }
        files.flush(aside)
        final = self._builds / key
        files.remove(final)  # a failure that was tried again
        aside.rename(final)
        files.flush_folder(self._builds)
        try:
            files.write_whole(final / "info.json", json.dumps(marker))
        except OSError:
            files.remove(final)
            raise
        entry = _load(final, verify=False)
        assert entry is not None, "it was written just now"
        return entry

    def _discard(self, key: str) -> bool:
        with self._lock(key, wait=False) as held:
            if held:
                files.remove(self._builds / key)
            return held

    def _sweep_up(self) -> None:
        """Drafts and entries without a marker whose builder is gone, and the locks of what is gone."""
        for draft in self._builds.glob(files.DRAFT + "*"):
            self._remove_if_free(draft.name.removeprefix(files.DRAFT).partition("-")[0], draft)
        for folder in _list_folders(self._builds):
            self._remove_if_free(folder.name, folder)
        for kind in ("data", "reference"):
            for draft in (self.root / kind).glob(files.DRAFT + "*"):
                files.remove_if_free(draft)
        for path in (self.root / "locks").glob("*"):
            if not (self._builds / path.name).exists():
                self._remove_if_free(path.name, path)

    def _remove_if_free(self, key: str, path: Path) -> None:
        with self._lock(key, wait=False) as held:
            if held and not (path / "info.json").exists():
                files.remove(path)

    @contextmanager
    def _lock(self, key: str, *, wait: bool = True) -> Iterator[bool]:
        """Whether the lock of a key is ours. flock: held by this opening of the file, so threads exclude each other."""
        path = self.root / "locks" / key
        path.parent.mkdir(parents=True, exist_ok=True)
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            while not (held := _try_lock(file)) and wait:
                if self._interrupted.wait(LOCK_SECONDS):
                    raise InterruptedError(f"stopped while waiting for another build of {key}")
            if held and not _same_file(file, path):  # it was removed by `clean` between opening and locking
                with self._lock(key, wait=wait) as again:
                    yield again
            else:
                yield held
        finally:
            os.close(file)


def _try_lock(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _same_file(file: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file), path.stat())
    except FileNotFoundError:
        return False


@contextmanager
def _explain_errors(root: Path) -> Iterator[None]:
    """Turn errors of a store that cannot be written into a UserError."""
    try:
        yield
    except OSError as error:
        inside = error.filename is not None and str(error.filename).startswith(str(root))
        if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR) and inside:
            raise UserError(files.describe_write_error(error, root)) from error
        if error.errno in files.FULL:
            raise UserError(files.describe_write_error(error, root)) from error
        raise


def _list_folders(parent: Path) -> list[Path]:
    """The folders of entries; those of drafts and of what is being removed start with a dot."""
    try:
        return [path for path in sorted(parent.iterdir()) if path.is_dir() and not path.name.startswith(".")]
    except (FileNotFoundError, NotADirectoryError):
        return []


def _load(folder: Path, verify: bool) -> Entry | None:
    """An entry; None if it has no marker, or one that does not describe it. Reads the contents with `verify`."""
    marker_path, artifact = folder / "info.json", folder / "artifact"
    try:
        used = marker_path.stat().st_mtime
        marker = json.loads(marker_path.read_text("utf-8"))
        ours = marker["format"] == FORMAT and marker["key"] == folder.name
        if not ours or not _is_whole(artifact, marker["files"], verify):
            return None
        failure = None if marker["failure"] is None else from_json(Failure, marker["failure"])
        if failure is not None and (artifact / LOG).exists():
            failure = replace(failure, log=str(artifact / LOG))
        sizes = float(marker["seconds"]), int(marker["bytes"]), float(marker["created"])
        return Entry(folder.name, artifact, dict(marker["info"]), failure, *sizes, used)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _is_whole(artifact: Path, content: Mapping[str, Any], verify: bool) -> bool:
    """Whether all files are there as the marker says. Later files (caches of a framework) do no harm."""
    return all(
        files.size(artifact / name) == file["bytes"] and (not verify or files.sha256(artifact / name) == file["sha256"])
        for name, file in content.items()
    )
