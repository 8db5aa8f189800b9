"""Tables of published results: what is shipped, and what a broken table says."""

from collections import Counter
from pathlib import Path

import pytest

from sweep.backends.replay import tables
from sweep.spec import FailureKind, Status, UserError

HEADER = "model,instance,stack,status,source,batch,throughput_items_per_s,latency_ms_p50,note,mistakes,date,reason"
GOOD = "resnet50,inf1.xlarge,tensorflow_neuron,ok,a page,5,761,65.8,,,2020-10,"


def table(folder: Path, *lines: str, header: str = HEADER) -> Path:
    path = folder / "mine.csv"
    path.write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
    return path


def test_shipped_tables_are_whole() -> None:
    rows = {name: tables.read(path) for name, path in tables.shipped().items()}
    assert {name: len(each) for name, each in rows.items()} == {
        "resnet50_2020": 50,
        "inf1_compile_sweep_2020": 16,
        "aws_inf1_resnet50": 8,
        "eva02_clip_2024": 2,
        "aws_neuron_benchmarks": 246,
    }
    everything = [row for each in rows.values() for row in each]
    assert all(row.source for row in everything)
    assert {row.source for row in everything if row.date is None} == {rows["eva02_clip_2024"][0].source}
    used = {name for row in everything for name in row.mistakes}
    assert used == set(tables.mistakes())
    assert len({row.key for row in everything}) == len(everything)


def test_the_fifteen_combinations() -> None:
    rows = tables.read(tables.find("inf1_compile_sweep_2020"))
    grid = [row for row in rows if "second attempt" not in (row.note or "")]
    assert {(row.batch, row.cores) for row in grid} == {(b, c) for b in range(1, 6) for c in (1, 4, 16)}
    assert Counter(row.status for row in grid) == {Status.OK: 6, Status.BUILD_FAILED: 9}
    failed = [row for row in grid if row.status is Status.BUILD_FAILED]
    assert sum(row.build_seconds or 0 for row in failed) == pytest.approx(2064.79)
    assert {row.failure_kind for row in failed} == {FailureKind.COMPILER_CRASH}
    assert all("Scheduler Failure!" in (row.reason or "") and row.placement == 0 for row in failed)


def test_published_figure_and_right_one_are_kept_apart() -> None:
    rows = tables.read(tables.find("published/resnet50_2020.csv"))
    found = next(r for r in rows if r.stack == "tensorflow_tensorrt" and r.precision == "fp32" and r.batch == 8)
    assert (found.throughput_items_per_s, found.throughput_recomputed_items_per_s) == (1666.69, 1311.18)
    assert found.rate == 1311.18
    assert found.instance == "g4dn.xlarge"
    assert found.mistakes == ("mean_of_rates", "async_timing")


def test_rates_that_their_own_wall_times_contradict_are_marked() -> None:
    rows = tables.read(tables.find("resnet50_2020"))
    large = [
        row
        for row in rows
        if row.batch == 128 and {"async_timing"} < {*row.mistakes} and row.stack == "tensorflow_tensorrt"
    ]
    assert len(large) == 4
    assert all("wall_time_contradicts_rate" in row.mistakes for row in large)
    shortest = 63.81  # s of wall time for 50,000 images
    assert min(row.throughput_items_per_s or 0 for row in large) > 9 * 50_000 / shortest


def test_a_bound_is_not_a_value() -> None:
    """ "Over 1 s" is all that was published of the GPU's maximum."""
    assert [row.latency_ms_max for row in tables.read(tables.find("eva02_clip_2024"))] == [None, None]


def test_a_table_of_ones_own(tmp_path: Path) -> None:
    path = table(tmp_path, GOOD, "", GOOD.replace(",5,", ",1,").replace("inf1", "INF1"))
    first, second = tables.read(path)
    assert (first.line, second.line) == (2, 4)
    assert (first.batch, first.throughput_items_per_s, first.cores) == (5, 761.0, None)
    assert type(first.batch) is int
    assert first.hardware == "inf1_xlarge"
    assert second.instance == "inf1.xlarge"
    assert tables.find(path) == path


def test_content_is_what_a_table_says_and_not_how(tmp_path: Path) -> None:
    one = tables.digest_rows(tables.read(table(tmp_path, GOOD)))
    same = tables.digest_rows(tables.read(table(tmp_path, "", GOOD.replace("761", "761.0"))))
    other = tables.digest_rows(tables.read(table(tmp_path, GOOD.replace("761", "762"))))
    assert one == same != other


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("resnet50,inf1.xlarge", "2 cells where the header has 12 columns"),
        (GOOD.replace("761", "7 61"), "throughput_items_per_s '7 61' is not a number"),
        (GOOD.replace("761", '"1,761"'), "no thousands separators"),
        (GOOD.replace("761", "-1"), "throughput_items_per_s is negative: -1"),
        (GOOD.replace("761", "nan"), "is nan: leave it empty"),
        (GOOD.replace(",5,", ",5.5,"), "batch 5.5: a whole number"),
        (GOOD.replace(",5,", ",0,"), "batch 0: a whole number of 1 or more"),
        (GOOD.replace(",ok,", ",okay,"), "status 'okay' does not exist: did you mean 'ok'?"),
        (GOOD.replace(",ok,", ",build_failed,"), "build_failed without a reason"),
        (GOOD.replace("761,65.8", ","), "not one number of a result"),
        (GOOD.replace("a page", " "), "source is empty"),
        (GOOD.replace("2020-10", "Oct 2020"), "date 'Oct 2020': write it as"),
        (GOOD.replace(",,2020", ",async_timer,2020"), "did you mean 'async_timing'?"),
        (GOOD.replace("a page", '"a page'), "is a quotation mark not closed?"),
    ],
)
def test_a_broken_row_is_named(tmp_path: Path, line: str, says: str) -> None:
    path = table(tmp_path, GOOD.replace("resnet50", "other"), line)
    with pytest.raises(UserError) as caught:
        tables.read(path)
    assert str(caught.value).startswith(f"{path}:3: ")
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("header", "says"),
    [
        (HEADER.replace("latency_ms_p50", "latency_p50_ms"), "no column 'latency_p50_ms': did you mean"),
        (HEADER.replace("note", "batch"), "column 'batch' stands there twice"),
        (HEADER.replace("source", "placement"), "column 'source' is missing"),
        (HEADER.replace(",", ";"), "not separated by commas"),
    ],
)
def test_a_broken_header_is_named(tmp_path: Path, header: str, says: str) -> None:
    path = table(tmp_path, GOOD, header=header)
    with pytest.raises(UserError, match=f"^{path}:1: ") as caught:
        tables.read(path)
    assert says in str(caught.value)


def test_rows_twice(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"mine\.csv:3: the same result as line 2"):
        tables.read(table(tmp_path, GOOD, GOOD.replace("761", "800")))


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", ":1: the file is empty"),
        (b"\n \n", ":1: the file is empty"),
        (HEADER.encode() + b"\n", ":1: no rows below the header"),
        (HEADER.encode() + b"\n" + GOOD.replace("page", "p\xe9ge").encode("latin-1"), ":2: not UTF-8"),
        ((HEADER + "\n" + GOOD).encode("utf-16"), ":1: not UTF-8"),
        (HEADER.encode() + b"\nresnet50,\0", ":2: not a text file"),
    ],
)
def test_files_that_are_no_tables(tmp_path: Path, data: bytes, says: str) -> None:
    path = tmp_path / "mine.csv"
    path.write_bytes(data)
    with pytest.raises(UserError) as caught:
        tables.read(path)
    assert says in str(caught.value)


def test_excel_writes_a_mark_in_front(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_bytes(b"\xef\xbb\xbf" + (HEADER + "\r\n" + GOOD + "\r\n").encode())
    assert tables.read(path)[0].model == "resnet50"


def test_tables_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="did you mean 'resnet50_2020'"):
        tables.find("published/resnet50_2021.csv")
    with pytest.raises(UserError, match="is a folder"):
        tables.find(tmp_path)
