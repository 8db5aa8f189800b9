"""What a long worker writes about its progress is shown."""

import json
import threading
from pathlib import Path
from typing import Any

from sweep.engine.watching import show_progress


class Screen:
    """Notes what it is to show."""

    def __init__(self) -> None:
        self.shown: list[Any] = []
        self.changed = threading.Event()

    def report(self, *given: Any) -> None:
        self.shown.append(given)
        self.changed.set()


def test_progress_is_shown_once_for_each_change(tmp_path: Path) -> None:
    screen: Any = Screen()
    with show_progress(screen, tmp_path, "net-pictures", seconds=0.01):
        for done in (3, 7):
            screen.changed.clear()
            # renamed into place, as a worker does
            (tmp_path / "part").write_text(json.dumps({"stage": "answers", "done": done, "total": 10}))
            (tmp_path / "part").replace(tmp_path / "progress.json")
            assert screen.changed.wait(10)
    assert screen.shown == [("net-pictures: answers", 3, 10), ("net-pictures: answers", 7, 10)]
    assert not [thread for thread in threading.enumerate() if thread.name == "sweep-progress"]


def test_worker_without_progress_shows_nothing(tmp_path: Path) -> None:
    screen: Any = Screen()
    (tmp_path / "progress.json").write_text("{cut o")
    with show_progress(screen, tmp_path, "net", seconds=0.001):
        assert not screen.changed.wait(0.05)
