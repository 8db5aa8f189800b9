"""Threads of the native libraries that this process has loaded: OpenMP, OpenBLAS, MKL, each asked by its own functions.

They count CPUs when they are loaded, which for the libraries of a fork server is before a worker has its cores, and a
model's own code may set them. Worker side, Python 3.8.
"""

import ctypes
import os
from pathlib import Path
from typing import Callable, Dict, List, NamedTuple, Optional, Tuple

MAPS = Path("/proc/self/maps")


class Library(NamedTuple):
    """A kind of library: how its file is named, and how it reads and sets its number of threads."""

    name: str
    files: Tuple[str, ...]  # beginnings
    functions: Tuple[Tuple[str, str], ...]  # (reads, sets); the first pair that the file has is used


LIBRARIES = (
    Library("openmp", ("libgomp", "libiomp", "libomp"), (("omp_get_max_threads", "omp_set_num_threads"),)),
    Library(
        "openblas",
        ("libopenblas", "libscipy_openblas"),
        tuple(
            ("%sopenblas_get_num_threads%s" % ends, "%sopenblas_set_num_threads%s" % ends)
            for ends in (("", ""), ("", "64_"), ("scipy_", ""), ("scipy_", "64_"))
        ),
    ),
    Library("mkl", ("libmkl_rt",), (("MKL_Get_Max_Threads", "MKL_Set_Num_Threads"),)),
)


def read_threads() -> Dict[str, int]:
    """The number of threads by kind of library; the largest where several copies are loaded."""
    counts: Dict[str, int] = {}
    for name, read, _ in _find_loaded():
        counts[name] = max(counts.get(name, 0), int(read()))
    return counts


def set_threads(count: int) -> None:
    """Give every loaded library so many threads."""
    for _, read, write in _find_loaded():
        if int(read()) != count:
            write(ctypes.c_int(count))


def _find_loaded() -> List[Tuple[str, Callable[[], int], Callable[[ctypes.c_int], object]]]:
    """(name, reads, sets) of every library of `LIBRARIES` in this process; none where there is no /proc."""
    if not MAPS.exists():
        return []
    lines = MAPS.read_text(errors="replace").splitlines()
    paths = sorted({line.split(None, 5)[5] for line in lines if line.count("/") and ".so" in line})
    loaded: List[Tuple[str, Callable[[], int], Callable[[ctypes.c_int], object]]] = []
    for path in paths:
        for library in LIBRARIES:
            if os.path.basename(path).startswith(library.files):  # noqa: PTH119  # a text, a thousand times
                functions = _open(path, library)
                loaded += [(library.name, *functions)] if functions else []
    return loaded


def _open(path: str, library: Library) -> Optional[Tuple[Callable[[], int], Callable[[ctypes.c_int], object]]]:
    try:
        opened = ctypes.CDLL(path, mode=os.RTLD_NOLOAD | os.RTLD_NOW)
    except OSError:  # deleted, or not to be opened twice
        return None
    for read, write in library.functions:
        if hasattr(opened, read) and hasattr(opened, write):
            return getattr(opened, read), getattr(opened, write)
    return None
