"""What is printed: complete, without control codes where nobody can see them, and calm."""

import io
import os
import re
import threading
from dataclasses import replace

import pytest

from sweep.report.terminal.display import Display
from sweep.spec.plan import Plan
from tests.support.records import make_plan, make_record, make_records, make_settings, make_verdict

CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f]")


class Terminal(io.StringIO):
    def isatty(self):
        return True


def printed(action, width=80, plain=True):
    stream = io.StringIO() if plain else Terminal()
    action(Display(plain=plain, stream=stream, width=width))
    return stream.getvalue()


def whole_sweep(display, records, settings):
    display.plan(make_plan(records), settings)
    display.begin("build", 2)
    display.advance("onnxruntime b1: 2.5 s")
    display.advance("torch b5: compiler_crash", failed=True)
    display.end()
    display.note("something to know")
    display.results(records, make_verdict(records), settings, ["browse     python -m sweep ui"])


def test_plain_lines_have_no_control_codes_and_no_trailing_blanks(tmp_path):
    text = printed(lambda display: whole_sweep(display, make_records(), make_settings(tmp_path)))
    assert not CONTROL.search(text)
    assert not re.search(r" $", text, flags=re.MULTILINE)
    assert "build 2/2  FAILED  torch b5: compiler_crash" in text
    assert "build: 2 in " in text
    assert "something to know" in text
    assert text.rstrip().endswith("browse     python -m sweep ui")


@pytest.mark.parametrize("width", [80, 100, 140])
def test_tables_fit_the_width(tmp_path, width):
    records = [*make_records(), make_record(backend="openvino", precision="int8", replicas=2)]
    text = printed(lambda d: whole_sweep(d, records, make_settings(tmp_path)), width)
    assert max(map(len, text.splitlines())) <= width


def test_terminal_has_colours_and_no_thread_while_measuring(tmp_path):
    before = threading.active_count()
    during = []

    def act(display):
        display.begin("measure", 2)
        display.advance("digits-onnxruntime-fp32-b1-c1")
        during.append(threading.active_count())
        display.end()
        display.results(make_records(), None, make_settings(tmp_path))

    text = printed(act, plain=False)
    assert "\x1b[" in text
    assert during == [before]


def test_progress_is_redrawn_at_steps_only(tmp_path):
    stream = Terminal()
    display = Display(plain=False, stream=stream, width=80)
    display.begin("measure", 3)
    drawn = len(stream.getvalue())
    assert not threading.Event().wait(0.3)  # nothing may happen meanwhile; a thread that draws would
    assert len(stream.getvalue()) == drawn
    display.advance("one")
    assert len(stream.getvalue()) > drawn
    display.end()


@pytest.mark.parametrize(
    ("terminal", "variables", "plain"),
    [
        (True, {}, False),
        (False, {}, True),
        (True, {"NO_COLOR": "1"}, True),
        (True, {"TERM": "dumb"}, True),
    ],
)
def test_output_is_plain_unless_a_terminal_wants_more(monkeypatch, terminal, variables, plain):
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert Display(stream=Terminal() if terminal else io.StringIO()).plain is plain


def test_plan_shows_reasons_builds_and_forecast(tmp_path):
    plan = make_plan(make_records())
    text = printed(lambda display: display.plan(plan, make_settings(tmp_path)), 120)
    assert "sweep digits: 9 trials, 8 can run, 1 invalid" in text
    assert "8 cores asked for, this machine has 4" in text
    assert "4 distinct builds for 8 trials: onnxruntime fp32 b1 b5, torch fp32 b1 b5" in text
    assert "forecast: about 42 s (2 repeats of 0.5 s)" in text


def test_large_plan_is_summarised_by_reason(tmp_path):
    records = [make_record(batch=n, cores=c) for n in range(1, 21) for c in (1, 2)]
    records += [make_record("invalid", batch=n, cores=8, reason="8 cores, this machine has 4") for n in range(1, 21)]
    records += [make_record("unavailable", backend="tensorrt", batch=n, reason="pip install it") for n in range(1, 6)]
    text = printed(lambda display: display.plan(make_plan(records), make_settings(tmp_path)))
    assert len(text.splitlines()) < 25
    assert "65 trials, 40 can run, 20 invalid, 5 unavailable" in text
    assert "20 invalid: 8 cores, this machine has 4" in text
    assert "5 unavailable: pip install it" in text
    assert "20 distinct builds" in text


def test_empty_plan_and_no_results_are_shown(tmp_path):
    settings = make_settings(tmp_path)
    assert "0 trials" in printed(lambda display: display.plan(Plan(()), settings))
    printed(lambda display: display.results([], make_verdict([]), settings))


def test_results_are_ranked_with_failures_and_logs_below(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    log = str(tmp_path / "sweeps" / "log.txt")
    records = [*make_records(), make_record("build_failed", batch=7, reason="no operator", log=log)]
    verdict = make_verdict(records, sentence="Choose the first.")
    text = printed(lambda display: display.results(records, verdict, make_settings(tmp_path), ["the last line"]), 120)
    rows = [line for line in text.splitlines() if re.match(r"\s?\d ", line)]
    assert [int(row.split()[0]) for row in rows] == [1, 2, 3, 4, 5]
    assert rows[0].split()[1:4] == ["onnxruntime", "1", "4"]
    assert rows[0].endswith("best")
    assert "1,988 ± 40" in rows[0]
    assert "crash: no operator" in text
    assert "log: sweeps/log.txt" in text
    assert text.index("crash: no operator") < text.index("→ Choose the first.") < text.index("the last line")


@pytest.mark.parametrize("kind", ["tie", "undecided"])
def test_rivals_are_marked_tie_or_undecided(tmp_path, kind):
    records = [make_record(batch=n) for n in (1, 2, 3)]
    verdict = make_verdict(records)
    verdict = replace(verdict, kind=kind, tied=verdict.ranking[:2], winner=verdict.winner if kind == "tie" else None)
    text = printed(lambda display: display.results(records, verdict, make_settings(tmp_path)), 120)
    states = [line.split()[-1] for line in text.splitlines() if re.match(r"\d ", line)]
    assert states == (["best", "tie", "ok"] if kind == "tie" else ["undecided", "undecided", "ok"])


def test_hidden_records_are_counted(tmp_path):
    records = [make_record(batch=n) for n in range(1, 61)]
    records += [make_record("build_failed", batch=n, cores=2, reason=f"reason {n % 15}") for n in range(1, 61)]
    text = printed(lambda display: display.results(records, make_verdict(records), make_settings(tmp_path)))
    assert "… and 100 more: python -m sweep trials" in text
    assert "more for 7 other reasons" in text
    assert len(text.splitlines()) < 70


def test_single_trial_is_shown_by_its_label(tmp_path):
    records = [make_record()]
    text = printed(lambda display: display.results(records, make_verdict(records), make_settings(tmp_path)), 120)
    assert "digits-onnxruntime-fp32-b1-c1" in text


def test_brackets_in_texts_are_not_markup(tmp_path):
    records = [make_record("build_failed", reason="[red]shape [1, 3][/red] :boom:")]
    text = printed(lambda display: display.results(records, None, make_settings(tmp_path)))
    assert "[red]shape [1, 3][/red] :boom:" in text


def test_commands_and_paths_are_not_wrapped(tmp_path):
    line = "reproduce  python -m sweep reproduce " + "0123456789abcdef" * 8
    assert line in printed(lambda display: display.results([], None, make_settings(tmp_path), [line]), 60).splitlines()


def test_long_phase_prints_failures_and_its_end():
    def act(display):
        display.begin("measure", 500)
        for step in range(500):
            display.advance(f"step {step}", failed=step == 250)
        display.end()

    lines = printed(act).splitlines()
    assert len(lines) < 20
    assert any("FAILED  step 250" in line for line in lines)
    assert any(line.startswith("measure 500/500") for line in lines)
    assert lines[-1].startswith("measure: 500 in ")
    assert lines[-1].endswith("1 failed")


def test_progress_of_a_short_step_is_no_line():
    def action(display):
        display.begin("reference", 1)
        display.report("net-pictures: answers", 500, 10_000)
        display.end()

    assert len(printed(action).splitlines()) == 1


def test_progress_of_a_long_step_is_a_line_for_each_tenth_or_doubling(monkeypatch):
    monkeypatch.setattr("sweep.report.terminal.display._PLAIN_SECONDS", 0.0)

    def action(display):
        display.begin("reference", 1)
        for done in (500, 900, 1000, 1700, 10_000):
            display.report("net-pictures: answers", done, 10_000)
        display.report("net-pictures: writing data", 64, 0)
        display.report("net-pictures: writing data", 96, 0)
        display.report("net-pictures: writing data", 128, 0)
        display.end()

    assert printed(action).splitlines()[:-1] == [
        "reference net-pictures: answers: 500 of 10,000 samples",
        "reference net-pictures: answers: 1,000 of 10,000 samples",
        "reference net-pictures: answers: 10,000 of 10,000 samples",
        "reference net-pictures: writing data: 64 samples",
        "reference net-pictures: writing data: 128 samples",
    ]


def test_progress_on_a_terminal_stands_beside_the_bar():
    def action(display):
        display.begin("reference", 1)
        display.report("net: answers", 7, 10)
        display.end()

    assert "net: answers: 7 of 10 samples" in printed(action, plain=False, width=120)


def test_steps_from_many_threads_are_all_counted():
    def act(display):
        display.begin("build", 40)
        threads = [threading.Thread(target=lambda: [display.advance("b") for _ in range(10)]) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        display.end()

    assert "build: 40 in " in printed(act)


def test_advance_and_end_without_a_phase_are_harmless():
    assert printed(lambda display: (display.advance("x"), display.end())) == ""


def test_closed_pipe_does_not_stop_a_sweep(tmp_path):
    reading, writing = os.pipe()
    os.close(reading)
    stream = os.fdopen(writing, "w", buffering=1)
    display = Display(stream=stream)
    whole_sweep(display, make_records(), make_settings(tmp_path))
    display._stream.close()
    with pytest.raises(BrokenPipeError):
        stream.close()


def test_ascii_terminal_is_enough(tmp_path):
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    whole_sweep(Display(stream=stream), make_records(), make_settings(tmp_path))
    stream.flush()
    assert b"1,988 ? 40" in raw.getvalue()


def test_note_is_wrapped_on_a_terminal_and_not_in_a_log():
    text = "the machine became slower, " * 6
    shown = re.sub(r"\x1b\[[0-9;]*m", "", printed(lambda display: display.note(text), 60, plain=False))
    assert [word for line in shown.splitlines() for word in line.split()] == text.split()
    assert len(printed(lambda display: display.note(text), 60).splitlines()) == 1
