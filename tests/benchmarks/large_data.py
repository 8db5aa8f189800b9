"""A data set that does not fit into memory: `python -m tests.benchmarks.large_data --count 2000`.

One sweep over made-up images of ImageNet's shape with a small convolutional net: the data is yielded, the reference and
the scores of all images are computed, `load=offline` passes over everything. Printed: seconds by phase, the largest
private memory of every process, and the disk used. 50,000 images in fp32 take 30 GB on the disk.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from sweep.isolate import procfs
from sweep.workloads import Dataset

ROOT = Path(__file__).resolve().parents[2]
PIECE = 64  # images
CLASSES = 10
MODEL = "name: small_conv\n_target_: tests.benchmarks.large_data.net\nformat: module\ndata: made_up\n"
DATA = """name: made_up
_target_: tests.benchmarks.large_data.images
count: {count}
side: {side}
dtype: {dtype}
score_items: all
"""


def images(count: int, side: int, dtype: str) -> Iterator[Dataset]:
    """Made-up images, one piece after the other; a class is a brightness."""
    base = np.random.RandomState(0).randint(0, 128, (3, side, side)).astype(np.uint8)
    for at in range(0, count, PIECE):
        numbers = np.arange(at, min(at + PIECE, count))
        labels = numbers % CLASSES
        shift = (12 * labels + numbers // CLASSES % 8).astype(np.uint8)
        pictures = base + shift[:, None, None, None]
        scaled = pictures if dtype == "uint8" else pictures.astype(dtype) / np.float32(255)
        yield Dataset({"image": scaled}, labels, {}, "classification", CLASSES)


def net() -> Any:
    """A small convolutional net of images in any number type."""
    import torch

    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.layers = torch.nn.Sequential(
                torch.nn.Conv2d(3, 8, 7, 4),
                torch.nn.ReLU(),
                torch.nn.Conv2d(8, 16, 3, 4),
                torch.nn.ReLU(),
                torch.nn.AdaptiveAvgPool2d(1),
                torch.nn.Flatten(),
                torch.nn.Linear(16, CLASSES),
            )

        def forward(self, image: Any) -> Any:
            return self.layers(image if image.dtype == torch.float32 else image.float() / 255)

    return Net()


class Watch:
    """Looks several times a second at the private memory of a process and of all beneath it."""

    def __init__(self, pid: int, folder: Path) -> None:
        self.peaks: dict[int, tuple[float, str]] = {}
        self.together = 0.0
        self.least_free = shutil.disk_usage(folder).free
        self._pid, self._folder, self._ended = pid, folder, threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._ended.wait(0.25):
            total = 0.0
            for pid in [self._pid, *procfs.list_descendants(self._pid)]:
                held = procfs.sum_held_mb([pid])  # private: pages of mapped files are not in it
                total += held
                if held > self.peaks.get(pid, (0.0, ""))[0]:
                    self.peaks[pid] = (held, _name_newest_task(self._folder))
            self.together = max(self.together, total)
            self.least_free = min(self.least_free, shutil.disk_usage(self._folder).free)

    def end(self) -> None:
        self._ended.set()
        self._thread.join()


def _name_newest_task(folder: Path) -> str:
    """Phase and name of the worker that was started last."""
    tasks = [*folder.glob("outputs/sweeps/*/*/*/request.json")]
    newest = max(tasks, key=lambda path: path.stat().st_mtime, default=None)
    return "planning" if newest is None else "/".join(newest.parts[-3:-1])


def run(count: int, side: int, dtype: str, backend: str, folder: Path, more: list[str]) -> None:
    """The sweep, and what it took."""
    for group, text in (
        ("model/small_conv", MODEL),
        ("data/made_up", DATA.format(count=count, side=side, dtype=dtype)),
    ):
        path = folder / "conf" / f"{group}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    command = [sys.executable, "-m", "sweep", "--config-dir", str(folder / "conf"), f"outputs={folder / 'outputs'}"]
    command += ["model=small_conv", f"backend={backend}", "batch=32", "effort=quick", "tracking=none", *more]
    free, begun = shutil.disk_usage(folder).free, time.monotonic()
    process = subprocess.Popen(command, cwd=ROOT)
    watch = Watch(process.pid, folder)
    status = process.wait()
    watch.end()
    used = subprocess.run(["du", "-sm", str(folder)], capture_output=True, text=True, check=True).stdout.split()[0]
    print(
        f"\n{count:,} images of {side} x {side} x 3 in {dtype}: exit status {status}, {time.monotonic() - begun:.0f} s"
    )
    print(f"disk: {int(used):,} MB at the end, {(free - watch.least_free) / 2**20:,.0f} MB at most")
    print(f"private memory: {watch.together:,.0f} MB together at most; by process, and what began last at its peak:")
    for held, name in sorted(watch.peaks.values(), reverse=True)[:12]:
        print(f"  {held:8,.0f} MB  {name}")
    for ledger in folder.glob("outputs/sweeps/*/ledger.jsonl"):
        for line in ledger.read_text().splitlines():
            _print_entry(json.loads(line))


def _print_entry(entry: dict[str, Any]) -> None:
    """What a worker took, and how many samples it saw."""
    if entry["kind"] == "repeat":
        repeat = entry["measurement"]
        seen = f"{repeat['samples_rotated']:,} of {repeat['samples_of_data']:,} samples in its requests"
        print(f"  {repeat['wall_seconds']:8.1f} s  repeat, {seen}, {repeat['throughput_items_per_s']:,.0f} items/s")
    elif "seconds" in entry:
        print(f"  {entry['seconds']:8.1f} s  {entry['kind']}")
    elif entry["kind"] == "record":
        record = entry["record"]
        scored = int(record["metrics"].get("scored_items") or 0)
        print(f"  {record['label']}: {record['status']}, {scored:,} samples scored")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=50_000)
    parser.add_argument("--side", type=int, default=224)
    parser.add_argument("--dtype", default="float32", choices=("float32", "uint8"))
    parser.add_argument("--backend", default="onnxruntime")
    parser.add_argument("--keep", action="store_true", help="leave the folder, which is named at the end")
    parser.add_argument("overrides", nargs="*", default=["load=saturate,offline"])
    given = parser.parse_args()
    scratch = Path(tempfile.mkdtemp(prefix="large-data-"))
    try:
        run(given.count, given.side, given.dtype, given.backend, scratch, given.overrides)
    finally:
        if given.keep:
            print(scratch)
        else:
            shutil.rmtree(scratch)
