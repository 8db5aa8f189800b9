"""The page in a real browser: opened from a disk and in a frame without rights, sorted, filtered, narrow."""

from pathlib import Path

import pytest

from sweep.report import page
from tests.support import browser
from tests.support.page_sweeps import stored
from tests.support.stored_sweeps import Member

pytestmark = [pytest.mark.browser, browser.needs_chromium]
TRIALS = 'const rows = [...document.querySelectorAll("#all-trials tbody tr")];'
CLICK = (
    'const click = (name) => [...document.querySelectorAll("#all-trials th")]'
    ".find((head) => head.textContent === name).querySelector('button').click();"
    'const column = (n) => [...document.querySelectorAll("#all-trials tbody tr")]'
    ".map((row) => row.cells[n].textContent);"
)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return page.write(stored(tmp_path_factory.mktemp("outputs")))


@pytest.fixture(scope="module")
def long_report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    some = [Member({"batch": batch, "cores": cores}) for batch in range(1, 36) for cores in (1, 2)]
    return page.write(stored(tmp_path_factory.mktemp("long"), some))


def test_page_opens_from_disk_and_its_table_sorts(report: Path, tmp_path: Path) -> None:
    question = CLICK + (
        'click("items/s"); const fast = column(5); click("items/s"); const slow = column(5);'
        'click("batch"); const sorts = document.querySelectorAll("[aria-sort]").length;'
        "return { fast, slow, batch: column(3), sorts };"
    )
    found, console = browser.asked(report, question, tmp_path)
    assert console == []
    numbers = [float(text.split()[0].replace(",", "")) for text in found["fast"] if text]
    assert len(numbers) == 5
    assert numbers == sorted(numbers, reverse=True)
    assert found["fast"][5:] == ["", "", ""], "what has no value stays at the end"
    assert found["slow"][:5] == found["fast"][:5][::-1]
    assert found["slow"][5:] == ["", "", ""]
    assert found["batch"] == sorted(found["batch"], key=int)
    assert found["sorts"] == 1


def test_page_works_in_a_sandboxed_frame(report: Path, tmp_path: Path) -> None:
    question = TRIALS + (
        'document.querySelector(".copy").click(); document.querySelector("nav a").click();'
        "return { rows: rows.length, wide: document.documentElement.scrollWidth, has: innerWidth,"
        ' charts: [...document.querySelectorAll(".chart svg")].filter((svg) => svg.getBoundingClientRect().width > 0)'
        ".map((svg) => [svg.parentElement.className, Math.round(svg.getBoundingClientRect().width)]) };"
    )
    found, console = browser.asked(report, question, tmp_path, frame=True, width=390)
    assert console == []
    assert found["rows"] == 8
    assert found["has"] == 390
    assert found["wide"] <= 390, "nothing but tables scrolls sideways"
    assert {css for css, _ in found["charts"]} == {"narrow"}
    assert all(300 < width <= 390 for _, width in found["charts"])


def test_trials_are_filtered_and_a_click_shows_the_rest(long_report: Path, tmp_path: Path) -> None:
    question = TRIALS + (
        "const shown = () => rows.filter((row) => !row.classList.contains('hidden')).length;"
        "const input = document.getElementById('filter'), found = { all: shown() };"
        "const type = (text) => { input.value = text; input.dispatchEvent(new Event('input')); return shown(); };"
        "found.one = type('batch=3'); found.several = type('batch=3,4 cores=2'); found.none = type('batch=99');"
        "found.dim = document.querySelectorAll('svg.dim').length > 0;"
        "found.half = type(''); document.getElementById('more').click(); found.every = shown();"
        "document.querySelector('.chip').click(); found.without = shown(); return found;"
    )
    found, console = browser.asked(long_report, question, tmp_path)
    assert console == []
    assert found == {
        "all": 50,
        "one": 2,
        "several": 2,
        "none": 0,
        "dim": True,
        "half": 50,
        "every": 70,
        "without": 0,
    }


def test_point_shows_its_trial_and_leads_to_its_row(report: Path, tmp_path: Path) -> None:
    question = (
        "const hit = document.querySelector('#tradeoff .wide .hit'); const tip = document.querySelector('.tip');"
        "hit.dispatchEvent(new PointerEvent('pointerover', { bubbles: true, clientX: 50, clientY: 50 }));"
        "const text = tip.textContent, seen = !tip.classList.contains('hidden');"
        "hit.dispatchEvent(new MouseEvent('click', { bubbles: true }));"
        "return { text, seen, row: document.querySelector('tr.flash').dataset.t, hit: hit.dataset.t };"
    )
    found, console = browser.asked(report, question, tmp_path)
    assert console == []
    assert found["seen"]
    assert "items/s" in found["text"]
    assert found["row"] == found["hit"]


def test_points_lie_where_their_marks_are(report: Path, tmp_path: Path) -> None:
    """The circles that can be hit are placed by us, the marks by matplotlib: both must mean the same place."""
    question = (
        "const svg = document.querySelector('#tradeoff .wide svg'); const box = svg.getBoundingClientRect();"
        "const middle = (e) => { const b = e.getBoundingClientRect();"
        " return [b.x + b.width / 2, b.y + b.height / 2]; };"
        "const marks = [...svg.querySelectorAll('use')].map(middle);"
        "const away = [...svg.querySelectorAll('.hit')].map(middle).map(([x, y]) =>"
        " Math.min(...marks.map(([u, v]) => Math.hypot(x - u, y - v)))); return { width: box.width, away };"
    )
    found, _ = browser.asked(report, question, tmp_path)
    assert found["width"] > 900
    assert len(found["away"]) == 5
    assert max(found["away"]) < 1.5


def test_heat_map_cell_shows_its_trial_and_leads_to_its_row(report: Path, tmp_path: Path) -> None:
    question = (
        "const tip = document.querySelector('.tip'), said = {};"
        "for (const cell of document.querySelectorAll('#heat .wide .area')) {"
        " const box = cell.getBoundingClientRect();"
        " const shown = [...document.querySelectorAll('#heat .wide svg > g:not(.hits) text')].map((text) => {"
        "  const b = text.getBoundingClientRect(); return [b.x + b.width / 2, b.y + b.height / 2, text.textContent]; })"
        "  .filter(([x, y]) => x > box.left && x < box.right && y > box.top && y < box.bottom);"
        " cell.dispatchEvent(new PointerEvent('pointerover', { bubbles: true, clientX: 50, clientY: 50 }));"
        " document.querySelectorAll('tr.flash').forEach((row) => row.classList.remove('flash'));"
        " cell.dispatchEvent(new MouseEvent('click', { bubbles: true }));"
        " said[tip.textContent] = [shown.map((each) => each[2]), document.querySelector('tr.flash').dataset.t,"
        "  cell.dataset.t]; }"
        "return said;"
    )
    found, console = browser.asked(report, question, tmp_path)
    assert console == []
    assert len(found) == 8
    for tip, (words, row, trial) in found.items():
        assert len(words) == 1, "one text lies in a cell"
        assert row == trial
        assert words[0].split()[0] in tip


def test_printed_page_is_as_wide_as_the_paper(report: Path, tmp_path: Path) -> None:
    pdf = tmp_path / "report.pdf"
    browser.run(report.as_uri(), f"--print-to-pdf={pdf}", "--no-pdf-header-footer")
    assert pdf.read_bytes().startswith(b"%PDF")
    assert pdf.stat().st_size > 20_000
