"""The errors that we raise on purpose, and suggestions for misspelt names."""

import difflib
from typing import Iterable

from sweep.spec.failure import FailureKind


class UserError(Exception):
    """Bad input: shown as one line with the fix in it, never as a traceback."""


class TrialError(Exception):
    """Raised inside a worker that knows why it fails; becomes a `Failure` of that kind."""

    def __init__(self, kind: FailureKind, summary: str) -> None:
        super().__init__(summary)
        self.kind = kind


def nearest(word: str, choices: Iterable[str]) -> str:
    """The choice that is most like the word; empty if there are no choices."""
    known = [str(choice) for choice in choices]
    return max(known, key=lambda choice: difflib.SequenceMatcher(None, word, choice).ratio(), default="")


def meant(word: str, choices: Iterable[str], *, listed: bool = True) -> str:
    """What was probably meant: "did you mean 'digits'? (here: digits, tiny)", to stand after "no model 'digts': "."""
    known = sorted({str(choice) for choice in choices})
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    close = close or [
        name for name in known if len(word) > 1 and (name.startswith(word) or sorted(name) == sorted(word))
    ]
    close.sort(key=len)  # of several that begin so, the plainest
    here = ", ".join(known[:12]) + (", ..." if len(known) > 12 else "")
    if not close:
        return f"choose from {here}" if known else "there are none"
    return f"did you mean '{close[0]}'?" + (f" (here: {here})" if listed else "")


def no_key(path: str, siblings: Iterable[str], *, add: bool = False) -> UserError:
    """The error for a key that does not exist; `siblings` are the last parts of the keys that do, at that place."""
    parent, _, _ = path.rpartition(".")
    known = [f"{parent}.{name}" if parent else str(name) for name in siblings]
    hint = f" (+{path}=... adds a new one)" if add else ""
    return UserError(f"no key '{path}': {meant(path, known, listed=False)}{hint}")
