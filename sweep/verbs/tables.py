"""Plain tables on the terminal."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table


def make_table(*columns: str) -> "Table":
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE, show_header=any(columns), pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def show(*parts: Any) -> None:
    from rich.console import Console

    console = Console(highlight=False, soft_wrap=False)
    for part in parts:
        console.print(part)
