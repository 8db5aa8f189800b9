"""An outputs folder that version 0.1 wrote, as it would lie on this machine."""

import shutil
import sys
import zlib
from pathlib import Path

from sweep.store import ledger

DATA = Path(__file__).parents[1] / "data" / "outputs_0.1"
# What its sweeps hold
FOUR_OK = "20261129-170128"
THREE_FAILURES = "20261129-170134"  # build failed, run failed, rejected
ONE_INVALID = "20261129-170137"
REPLAYED = "20261129-170140"
OPEN_LOAD = "20261129-170426"
BUCKETS = "20261129-171118"
INTERRUPTED = "20261129-171122"  # by Ctrl-C, after the first repeats of eight trials
SWEEPS = (FOUR_OK, THREE_FAILURES, ONE_INVALID, REPLAYED, OPEN_LOAD, BUCKETS, INTERRUPTED)


def copy_outputs(folder: Path) -> Path:
    """The folder, with paths as if it had been written here; only text is touched."""
    outputs = folder / "outputs_0.1"
    shutil.copytree(DATA, outputs)
    places = {b"@OUTPUTS@": str(outputs), b"@PYTHON@": sys.executable, b"@HERE@": str(DATA.parents[2])}
    for path in outputs.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            if b"@" in content and b"\0" not in content:
                for mark, place in places.items():
                    content = content.replace(mark, place.encode())
                path.write_bytes(_with_checksums(content) if path.name == ledger.LEDGER else content)
    return outputs


def _with_checksums(content: bytes) -> bytes:
    """The lines of a ledger with sums of what they say now: {"crc32":"1234abcd","kind":...}."""
    bodies = [line[len(b'{"crc32":"1234abcd",') :] for line in content.splitlines()]
    return b"".join(b'{"crc32":"%08x",%s\n' % (zlib.crc32(body), body) for body in bodies)
