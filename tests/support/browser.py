"""Headless Chromium for tests: what a page becomes, and what it says on the console."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tempfile
from html import unescape
from pathlib import Path
from typing import Any, NamedTuple

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
CHROMIUM = next((found for name in NAMES if (found := shutil.which(name))), None)
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    "--disable-features=IsolateSandboxedIframes",  # in another process virtual time may end before a frame answers
    *("--virtual-time-budget=25000", "--enable-logging=stderr"),
)
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed: apt-get install chromium")


class Seen(NamedTuple):
    dom: str
    console: list[str]


def run(url: str, *flags: str, width: int = 1400, height: int = 1000) -> subprocess.CompletedProcess[str]:
    assert CHROMIUM is not None
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        line = [CHROMIUM, *FLAGS, f"--user-data-dir={profile}", f"--window-size={width},{height}", *flags, url]
        return subprocess.run(line, capture_output=True, text=True, timeout=120, check=True)


def load(path: Path, width: int = 1400) -> Seen:
    """Open a file as from a disk."""
    done = run(path.as_uri(), "--dump-dom", width=width)
    return Seen(done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line])


def asked(page: Path, question: str, folder: Path, *, frame: bool = False, width: int = 1400) -> tuple[Any, list[str]]:
    """What an expression of JavaScript is on a page, as JSON, and what the console said.

    Args:
        frame: the page lies in a frame without rights but scripts, as MLflow shows an artifact.
    """
    html = page.read_text(encoding="utf-8")
    script = f"JSON.stringify((() => {{ {question} }})())"
    if frame:
        inner = html.replace("</body>", f"<script>parent.postMessage({script}, '*')</script></body>")
        outer = (
            '<!doctype html><body><pre id="answer"></pre><script>'
            'addEventListener("message", (event) => { document.getElementById("answer").textContent = event.data; });'
            f"</script><iframe sandbox='allow-scripts' width='{width}' height='800' "
            f"srcdoc='{_attribute(inner)}'></iframe>"
        )
    else:
        outer = html.replace(
            "</body>",
            f'<pre id="answer"></pre><script>document.getElementById("answer").textContent = {script};</script></body>',
        )
    path = folder / "asked.html"
    path.write_text(outer, encoding="utf-8")
    seen = load(path, width if not frame else 1400)
    found = re.search(r'<pre id="answer">(.*?)</pre>', seen.dom, re.DOTALL)
    assert found is not None, seen.console
    return json.loads(unescape(found[1])), seen.console


def _attribute(text: str) -> str:
    return text.replace("&", "&amp;").replace("'", "&#39;")
