"""Fork servers that outlive a sweep: of the CPU time of a sweep in a test, two thirds are one import of torch.

A server only imports and forks, so a worker does not know who was served before. One is handed on to the next sweep of
this process that would start its like: same interpreter, modules, environment, import path, directory and CPUs. What a
sweep ends in the middle of its work is ended for good, as always.

Outside of tests an interpreter that is not ours preloads nothing.
"""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sweep.isolate.client import GoneError, Server
from sweep.isolate.pool import Variables, Workers
from sweep.spec import Json

KEPT = 4  # each holds a framework in memory
Like = tuple[Any, ...]


class Kept(Server):
    """Goes back to its shelf instead of ending."""

    def __init__(self, shelf: "Shelf", like: Like, *how: Any) -> None:
        super().__init__(*how)
        self.shelf, self.like = shelf, like
        self.disturbed = self.ending = False

    def run(self, order: Callable[[int], Json], seconds: float, folder: str = "") -> Json:
        try:
            report = super().run(order, seconds, folder)
        except GoneError:
            raise
        except BaseException:
            self.disturbed = True
            raise
        self.disturbed |= bool(report.get("why")) or "lost" in report
        return report

    def cancel(self) -> None:
        self.disturbed = True
        super().cancel()

    def kill(self) -> None:
        self.disturbed = True
        super().kill()

    def hang_up(self) -> None:
        self.ending = self.disturbed or self.dead or not self.shelf.take(self)
        if self.ending:
            super().hang_up()

    def join(self) -> None:
        if self.ending:
            super().join()


class Shelf:
    """Servers that wait for the next sweep, the oldest first."""

    def __init__(self) -> None:
        self.servers: list[Kept] = []
        self.open = True
        self.preload_elsewhere: tuple[str, ...] = ("sweep.worker.entries",)  # in interpreters that are not ours

    def workers(self) -> Workers:
        """In the place of the class."""
        return Workers(self._server)

    def _server(self, python: str, preload: tuple[str, ...], variables: Variables, own: bool) -> Server:
        if not own:
            preload = self.preload_elsewhere
        environment = {name: value for name, value in os.environ.items() if name != "PYTEST_CURRENT_TEST"}
        environment.update(variables)
        like = (python, preload, sorted(environment.items()), list(sys.path), Path.cwd(), os.sched_getaffinity(0))
        for server in reversed(self.servers):
            if server.like == like and not server.dead:
                self.servers.remove(server)
                return server
        return Kept(self, like, python, preload, variables, own)

    def take(self, server: Kept) -> bool:
        if not self.open:
            return False
        self.servers.append(server)
        while len(self.servers) > KEPT:
            _end(self.servers.pop(0))
        return True

    def close(self) -> None:
        self.open = False
        while self.servers:
            _end(self.servers.pop())


def _end(server: Kept) -> None:
    Server.hang_up(server)
    Server.join(server)
