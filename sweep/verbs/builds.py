"""The verb `builds`: list, explain and clean the builds in the store."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sweep.spec import UserError
from sweep.store.builds import Store
from sweep.store.layout import OutputsFolder
from sweep.text import count, duration, to_single_line
from sweep.verbs.arguments import OUTPUTS, Outputs
from sweep.verbs.tables import make_table, show

if TYPE_CHECKING:
    from sweep.store.builds import Entry

app = typer.Typer(no_args_is_help=True, help="The build store: list, explain, clean.", rich_markup_mode=None)


@app.command("list")
def list_builds(outputs: Outputs = OUTPUTS) -> None:
    """List every stored build and remembered failure with its age, its size and the seconds that it took."""
    store = _open_store(outputs)
    entries = sorted(store.entries(), key=lambda entry: -entry.last_used)
    table = make_table("build", "key", "took", "size", "last used", "state")
    for entry in entries:
        state = entry.failure.kind.value if entry.failure else "ready"
        table.add_row(
            _name(entry), entry.key[:12], duration(entry.seconds), _size(entry.bytes), _age(entry.last_used), state
        )
    total = f"{count(len(entries), 'build')}, {_size(sum(entry.bytes for entry in entries))} in {store.root}"
    show(table, total)


@app.command("explain")
def explain(
    key: Annotated[str, typer.Argument(help="A build's key, or how it begins.")], outputs: Outputs = OUTPUTS
) -> None:
    """Show what went into a build, what it reported, and where it lies."""
    entries = [entry for entry in _open_store(outputs).entries() if entry.key.startswith(key)]
    if len(entries) != 1:
        raise UserError(f"{len(entries)} builds begin with {key!r}: `python -m sweep builds list` shows the keys")
    entry = entries[0]
    table = make_table("", "")
    for name, value in _flat({"key": entry.key, "folder": str(entry.folder), **entry.info}):
        table.add_row(name, to_single_line(str(value)))
    if entry.failure is not None:
        table.add_row("failure", f"{entry.failure.kind.value}: {entry.failure.summary}")
    show(table)


@app.command("clean")
def clean(
    older_than_days: Annotated[float | None, typer.Option(help="Remove what was not used for this many days.")] = None,
    max_mb: Annotated[
        float | None, typer.Option(help="Remove the longest unused until the store is this small.")
    ] = None,
    failures: Annotated[bool, typer.Option(help="Forget remembered failures.")] = False,
    outputs: Outputs = OUTPUTS,
) -> None:
    """Remove builds by age or size; a sweep that needs one builds it again."""
    store = _open_store(outputs)
    keys = [entry.key for entry in store.entries() if entry.failure is not None] if failures else None
    if older_than_days is None and max_mb is None and not failures:
        raise UserError("say what to remove: --older-than-days 30, --max-mb 2000 or --failures")
    removed: list[Entry] = []
    if keys:
        removed += store.clean(keys=keys)
    if older_than_days is not None or max_mb is not None:
        limit = None if max_mb is None else int(max_mb * (1 << 20))
        removed += store.clean(older_than_days=older_than_days, max_bytes=limit)
    show(f"removed {count(len(removed), 'build')}, {_size(sum(entry.bytes for entry in removed))}")


def _open_store(outputs: Path) -> Store:
    store = OutputsFolder(outputs.absolute()).store
    if not store.is_dir():
        raise UserError(f"no build store in {outputs.absolute()} yet: run a sweep first, or say --outputs")
    return Store(store)


def _name(entry: "Entry") -> str:
    return str(entry.info.get("name") or "–")


def _size(size: int) -> str:
    return f"{size / (1 << 20):,.1f} MB"


def _age(moment: float) -> str:
    return f"{duration(max(0.0, time.time() - moment))} ago"


def _flat(value: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    rows: list[tuple[str, Any]] = []
    for name, item in value.items():
        if isinstance(item, dict) and item:
            rows += _flat(item, f"{prefix}{name}.")
        else:
            rows.append((prefix + name, item))
    return rows
