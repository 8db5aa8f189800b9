"""What is wrong with a file that should be a model, weights or data: seen from its first and last bytes."""

import json
import re
import struct
import zipfile
from pathlib import Path
from typing import Any, BinaryIO, Iterator, Mapping, Optional

HEAD = 2048  # bytes that are looked at
LFS = b"version https://git-lfs.github.com/spec/"
TEXT_MOST = 512  # bytes of a message in place of a file
BINARY = (".onnx", ".pt", ".pt2", ".pth", ".safetensors", ".npz", ".npy", ".h5", ".keras", ".pb", ".bin", ".ckpt")
HDF5 = b"\x89HDF\r\n\x1a\n"
_PATH = re.compile(r"[^\s'\"()\[\],;:]+\.(?:%s)\b" % "|".join(suffix[1:] for suffix in (*BINARY, ".gz", ".zip")))


def explain(path: Path) -> Optional[str]:
    """None, or what a file is instead of what its name says, as in `it is empty`."""
    if path.is_dir():
        return "it is a folder"
    size = path.stat().st_size
    if not size:
        return "it is empty"
    with path.open("rb") as file:
        head = file.read(HEAD)
        if head.startswith(LFS):
            return "it is a pointer of git-lfs, not the file itself: run `git lfs pull`"
        start = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
        if start.startswith((b"<!doctype", b"<html", b"<head", b"<?xml")):
            return "it is a page of a web site, not the file: what was downloaded is a page to log in, or an error"
        if path.suffix.lower() in BINARY and size <= TEXT_MOST and _is_text(head):
            words = " ".join(head.decode("utf-8").split())
            return "it is a text, not the file: %s" % (words if len(words) <= 100 else words[:99] + "\u2026")
        if _is_cut(file, head, size, path.suffix.lower()):
            return "it is cut off, its end is missing: copy or download it again"
    return None


def _is_text(head: bytes) -> bool:
    try:
        text = head.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return all(character.isprintable() or character.isspace() for character in text)


def _is_cut(file: BinaryIO, head: bytes, size: int, suffix: str) -> bool:
    if head.startswith(b"PK\x03\x04"):
        return not _is_whole_zip(file)
    if head.startswith(HDF5):
        return (_read_hdf5_end(head) or 0) > size
    if head.startswith(b"\x93NUMPY"):
        return _is_array_cut(file, size)
    return suffix == ".safetensors" and _is_safetensors_cut(file, head, size)


def _is_whole_zip(file: BinaryIO) -> bool:
    """Whether the archive that begins here has its end; archives inside it have ends of their own."""
    try:
        with zipfile.ZipFile(file) as archive:
            return min((entry.header_offset for entry in archive.infolist()), default=0) == 0
    except (zipfile.BadZipFile, OSError):
        return False


def _read_hdf5_end(head: bytes) -> Optional[int]:
    """Where an HDF5 file ends by its own superblock: see the format's specification, section II.A."""
    offset = {0: 40, 1: 44, 2: 28, 3: 28}.get(head[8])
    wide = head[13] if head[8] < 2 else head[9]  # bytes of an address
    return None if offset is None or wide != 8 else int(struct.unpack_from("<Q", head, offset)[0])


def _is_array_cut(file: BinaryIO, size: int) -> bool:
    import numpy as np

    file.seek(0)
    try:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(file)
    except (ValueError, EOFError):
        return True
    return not dtype.hasobject and file.tell() + int(np.prod(shape)) * dtype.itemsize > size


def _is_safetensors_cut(file: BinaryIO, head: bytes, size: int) -> bool:
    """By its header: eight bytes with the length of a JSON that says where each tensor ends."""
    if len(head) < 8:
        return True
    length = struct.unpack("<Q", head[:8])[0]
    if 8 + length > size:
        return True
    file.seek(8)
    try:
        entries: Mapping[str, Any] = json.loads(file.read(length).decode("utf-8"))
        ends = [entry["data_offsets"][1] for name, entry in entries.items() if name != "__metadata__"]
    except (ValueError, KeyError, TypeError, AttributeError):
        return False
    return bool(8 + length + max(ends, default=0) > size)


def find_broken(value: Any, message: str) -> Optional[str]:
    """A line about the first broken file that arguments or an error message name; None if there is none.

    Args:
        value: arguments of a factory.
    """
    for word in (*_list_words(value), *_PATH.findall(message)):
        path = Path(word).expanduser()
        try:
            reason = explain(path) if path.is_file() else None
        except OSError:
            continue
        if reason is not None:
            return "%s: %s" % (path, reason)
    return None


def _list_words(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for part in value.values():
            yield from _list_words(part)
    elif isinstance(value, (list, tuple)):
        for part in value:
            yield from _list_words(part)
