"""Planning large spaces: seconds and peak memory of the whole process, for 1, 1,000 and 10,000 trials.

python tests/benchmarks/planning.py [--runs 3]
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time

SIZES = {
    1: ["batch=1"],
    1_000: ["batch=range(1,126)", "cores=1,2", "precision=fp32,int8", "backend=onnxruntime,openvino"],
    10_000: ["batch=range(1,626)", "cores=1,2", "precision=fp32,int8", "backend=onnxruntime,openvino", "replicas=1,2"],
}


def once(overrides: list[str]) -> tuple[float, float, float]:
    """Wall seconds, CPU seconds, peak MB of `plan=only`."""
    with tempfile.TemporaryDirectory() as folder:
        line = [sys.executable, "-m", "sweep", "-m", *overrides, "plan=only", f"outputs={folder}/outputs"]
        begin = time.perf_counter()
        process = subprocess.Popen(line, stdout=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        assert process.returncode == 0
        return time.perf_counter() - begin, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3)
    runs = parser.parse_args().runs
    once(SIZES[1])  # byte code is compiled
    for size, overrides in SIZES.items():
        columns = list(zip(*(once(overrides) for _ in range(runs)), strict=True))
        named = zip(("wall s", "CPU s", "peak MB"), columns, strict=True)
        shown = ", ".join(f"{name} {statistics.median(c):.2f} [{min(c):.2f}, {max(c):.2f}]" for name, c in named)
        print(f"{size:>6,} trials: {shown}", flush=True)


if __name__ == "__main__":
    main()
