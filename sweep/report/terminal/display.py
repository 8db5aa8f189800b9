"""What a sweep prints while it runs: the plan, progress with time left, the ranked table, the verdict.

On a terminal rich draws it; elsewhere (a pipe, a log file, NO_COLOR) it is plain lines without control codes. While
something is measured no thread refreshes the display: it is redrawn once for each `advance`.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TextIO

from sweep.report.terminal.layout import make_plan_parts, paragraph
from sweep.report.terminal.results import make_result_parts
from sweep.text import duration, to_single_line

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.progress import Progress

    from sweep.report.terminal.layout import Part
    from sweep.spec import Record
    from sweep.spec.plan import Plan
    from sweep.spec.settings import Settings
    from sweep.verdict.select import Verdict

PLAIN_WIDTH = 100
_STEP_LINES_UP_TO = 20  # plain: phases with at most this many steps print a line for each step
_PLAIN_SECONDS = 5.0  # plain: longer phases print a line at most this often


class Display:
    """Everything that a sweep prints. All methods may be called from any thread; none raises for a closed stream."""

    def __init__(self, plain: bool | None = None, stream: TextIO | None = None, width: int | None = None) -> None:
        """
        Args:
            plain: print lines without control codes; None: do so unless the stream is a terminal without NO_COLOR.
            stream: where to write; None: standard output, looked up when something is printed.
            width: columns; None: those of the terminal, or 100 (COLUMNS where it is set) for plain lines.
        """
        self._stream = stream
        self._plain = plain
        self._width = width
        self._lock = threading.RLock()
        self._phase: _Phase | None = None
        self._open_console: Console | None = None

    @property
    def plain(self) -> bool:
        if self._plain is None:
            stream = self._stream or sys.stdout
            dumb = os.environ.get("TERM", "") in ("dumb", "unknown")
            self._plain = not stream.isatty() or bool(os.environ.get("NO_COLOR")) or dumb
        return self._plain

    def plan(self, plan: Plan, settings: Settings) -> None:
        """Print what was declared: the trials, why some cannot run, the distinct builds, the forecast."""
        self._print(*make_plan_parts(plan, settings))

    def begin(self, phase: str, total: int) -> None:
        """Begin a phase of `total` steps, and end an earlier one that still runs."""
        with self._lock:
            self.end()
            self._phase = _Phase(phase, total, None if self.plain else self._console)

    def advance(self, text: str = "", failed: bool = False) -> None:
        """Count one step of the phase as done.

        Args:
            text: what was done; of a failure also why. The line of a failure stays on the screen.
        """
        with self._lock:
            if self._phase is not None:
                line = self._phase.advance(to_single_line(text), failed)
                if line:
                    self._print((line, "red" if failed else ""))

    def report(self, text: str, done: int, total: int) -> None:
        """Say how far a step of the phase is: on a terminal beside the bar, elsewhere in a line a tenth or doubling.

        Args:
            text: which step, and what it does.
            done, total: samples; a total of 0 is not known.
        """
        with self._lock:
            if self._phase is not None:
                line = self._phase.report(to_single_line(text), done, total)
                if line:
                    self._print((line, ""))

    def end(self) -> None:
        """End the phase; one line says how long it took."""
        with self._lock:
            phase, self._phase = self._phase, None
            if phase is not None:
                self._print((phase.close(), "dim"))

    def note(self, text: str) -> None:
        """Print a line above the progress; a terminal breaks it between words."""
        line = to_single_line(text)
        self._print((line if self.plain else paragraph(line), "yellow"))

    def show(self, parts: Sequence[Part]) -> None:
        """Print parts with their style above the progress."""
        self._print(*parts)

    def results(
        self, records: Sequence[Record], verdict: Verdict | None, settings: Settings, lines: Sequence[str] = ()
    ) -> None:
        """Print the ranked table, the failures, the verdict, then the commands to browse, reproduce and ask why."""
        self.end()
        self._print(*make_result_parts(records, verdict, settings, lines, self._console.width))

    @property
    def width(self) -> int:
        return self._console.width

    @property
    def _console(self) -> Console:
        if self._open_console is None:
            from rich.console import Console

            stream = self._stream or sys.stdout
            if hasattr(stream, "reconfigure"):
                stream.reconfigure(errors="replace")  # an ASCII terminal shows "?" and goes on
            width = self._width
            if self.plain and width is None:
                columns = os.environ.get("COLUMNS", "")
                width = int(columns) if columns.isdigit() and int(columns) >= 40 else PLAIN_WIDTH
            self._open_console = Console(
                file=stream,
                width=width,
                no_color=self.plain or None,
                color_system=None if self.plain else "auto",
                force_terminal=not self.plain,
                force_interactive=not self.plain,
                highlight=False,
                markup=False,
                emoji=False,
                legacy_windows=False,
            )
        return self._open_console

    def _print(self, *parts: tuple[RenderableType, str]) -> None:
        """Print parts with their style. Strings are never broken, so that they can be copied; tables fit the width."""
        from rich.styled import Styled
        from rich.text import Text

        with self._lock:
            try:
                for part, style in parts:
                    whole = isinstance(part, str)
                    # Styled, because a style given to print() would colour the progress beneath as well.
                    shown = Styled(Text(part) if isinstance(part, str) else part, style)
                    if self.plain:
                        self._print_plain(shown, whole)
                    else:
                        self._console.print(shown, soft_wrap=whole)
                self._console.file.flush()
            except BrokenPipeError:
                self._open_console = None
                self._stream = open(os.devnull, "w")  # noqa: SIM115  # `sweep | head`: the sweep goes on silently

    def _print_plain(self, part: RenderableType, whole: bool) -> None:
        """Print without the blanks that fill the lines of a table."""
        with self._console.capture() as text:
            self._console.print(part, soft_wrap=whole)
        lines = [line.rstrip() for line in text.get().splitlines()]
        self._console.file.write("".join(line + "\n" for line in lines))


class _Phase:
    """The progress of one phase: a bar on a terminal, lines elsewhere."""

    def __init__(self, name: str, total: int, console: Console | None) -> None:
        self.name, self.total = name, total
        self.done = self.failed = 0
        self._started = time.monotonic()
        self._last_line = self._started
        self._marks: dict[str, int] = {}  # of each step that has reported: tenths, or doublings, that were printed
        self._progress = None if console is None else _bar(console)
        if self._progress is not None:
            self._task = self._progress.add_task(name, total=max(total, 1), left="", text="")
            self._progress.start()
            self._progress.refresh()

    def advance(self, text: str, failed: bool) -> str:
        """Count one step; the line to print now, or an empty one."""
        self.done += 1
        self.failed += failed
        left = self._left()
        if self._progress is not None:
            self._progress.update(self._task, completed=self.done, left=left, text=text[:60], refresh=True)
            return f"  ✗ {self.name}: {text}" if failed else ""
        now = time.monotonic()
        due = self.total <= _STEP_LINES_UP_TO or now - self._last_line >= _PLAIN_SECONDS or self.done == self.total
        if not (due or failed):
            return ""
        self._last_line = now
        words = (f"{self.name} {self.done}/{self.total}", "FAILED" * failed, text, left)
        return "  ".join(word for word in words if word)

    def report(self, text: str, done: int, total: int) -> str:
        """Show how far a step is; the line to print now, or an empty one."""
        line = f"{text}: {done:,} of {total:,} samples" if total else f"{text}: {done:,} samples" if done else text
        if self._progress is not None:
            self._progress.update(self._task, text=line, refresh=True)
            return ""
        mark, now = 10 * done // total if total else done.bit_length(), time.monotonic()
        if self._marks.get(text, -1) >= mark or now - self._last_line < _PLAIN_SECONDS:
            return ""
        self._marks[text], self._last_line = mark, now
        return f"{self.name} {line}"

    def close(self) -> str:
        if self._progress is not None:
            self._progress.stop()
        outcome = f", {self.failed:,} failed" if self.failed else ""
        stopped = f" of {self.total:,}" if self.done < self.total else ""
        return f"{self.name}: {self.done:,}{stopped} in {duration(time.monotonic() - self._started)}{outcome}"

    def _left(self) -> str:
        remaining = self.total - self.done
        if remaining <= 0:
            return ""
        seconds = (time.monotonic() - self._started) / self.done * remaining
        return f"about {duration(round(seconds))} left" if seconds >= 1 else ""


def _bar(console: Console) -> Progress:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns: list[Any] = [
        TextColumn("{task.description}", style="bold", markup=False),
        BarColumn(bar_width=24, complete_style="cyan", finished_style="cyan"),
        MofNCompleteColumn(),
        TextColumn("{task.fields[left]}", style="dim", markup=False),
        TextColumn("{task.fields[text]}", style="dim", markup=False),
    ]
    return Progress(*columns, console=console, auto_refresh=False, transient=True)
