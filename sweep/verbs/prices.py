"""The verbs about prices: `prices` lists those that are known, `prices refresh` asks AWS."""

import time
from collections.abc import Sequence
from typing import Annotated

import typer

from sweep.spec import Json, UserError, meant
from sweep.text import count, relative
from sweep.verbs.arguments import OUTPUTS, Outputs

app = typer.Typer(invoke_without_command=True, help="What hosts cost an hour: list, refresh.", rich_markup_mode=None)


@app.callback()
def list_prices(context: typer.Context, outputs: Outputs = OUTPUTS) -> None:
    """List the price of every hardware type with its kind, region, date and source; `refresh` asks AWS."""
    if context.invoked_subcommand is not None:
        return
    from sweep.config import compose
    from sweep.report.terminal.display import Display
    from sweep.report.terminal.layout import Column, as_table, fit_columns
    from sweep.verdict.costs import money, prices

    rows = prices.read(outputs)
    lines: list[tuple[str, ...]] = []
    unknown = []
    for declared in compose.load_hardware_types():
        known = money.list_prices(prices.override(declared, rows))
        own = money.list_prices(declared)
        unknown += [] if known or declared.get("withdrawn") else [str(declared["name"])]
        for place, price in enumerate(known):
            facts = [price.kind, price.region, price.date, price.source]
            where = "" if price in own else prices.TABLE
            name = "" if place else str(declared["name"])
            lines.append((name, f"{price.usd_per_hour:.6g}", *(fact or "" for fact in facts), where))
    names = ("hardware", "USD/h", "kind", "region", "date", "source", "from")
    cells = list(zip(*lines, strict=True))
    columns = [Column(name, list(cells[at]), right=at == 1, spare=at if at > 3 else 0) for at, name in enumerate(names)]
    display = Display()
    shown = fit_columns([column for column in columns if not column.empty], display.width)
    display.show([(as_table(shown, [""] * len(lines)), ""), ("", "")])
    print("Without objective.price=on_demand|reserved|spot, the first price of each hardware type is used.")
    if unknown:
        print(f"Not known: {', '.join(unknown)} (`best` takes price.HARDWARE=0.17)")
    if rows:
        print(
            f"Instead of those of the configs: {count(len(rows), 'price')} of {relative(str(outputs / prices.TABLE))}"
        )


@app.command()
def refresh(
    region: Annotated[str, typer.Option(help="An AWS region.")] = "us-east-1",
    hardware: Annotated[list[str] | None, typer.Option(help="Only this type; may be given again.")] = None,
    kind: Annotated[list[str] | None, typer.Option(help="on_demand, reserved or spot; default: all.")] = None,
    lease: Annotated[
        str, typer.Option(help="Term of reserved prices, 1yr or 3yr (standard, nothing upfront).")
    ] = "1yr",
    outputs: Outputs = OUTPUTS,
) -> None:
    """Ask AWS what its instances cost now, and write a table of your own that replaces the prices of the configs."""
    from sweep.spec.settings import PRICES
    from sweep.verdict.costs import prices

    kinds = kind or list(PRICES)
    for word in kinds:
        if word not in PRICES:
            raise UserError(f"--kind {word}: {meant(word, PRICES)}")
    if lease not in prices.LEASES:
        raise UserError(f"--lease {lease}: {meant(lease, prices.LEASES)}")
    types = _types(hardware or [])
    rows, lacking = prices.fetch(types, region, kinds, lease, prices.connect(region), time.strftime("%Y-%m-%d"))
    if rows:
        path = prices.write(outputs, rows)
        print(f"{count(len(rows), 'price')} of {region} in {relative(str(path))}, used instead of those of the configs")
    if lacking:
        print(f"AWS names no price, or several, for {', '.join(lacking)}")
    if not rows:
        raise UserError(f"no price of {region} was found: nothing is changed")


def _types(names: Sequence[str]) -> list[Json]:
    """The instance types that are not withdrawn: all of them, or those that are named."""
    from sweep.config import compose

    known = {str(hardware["name"]): hardware for hardware in compose.load_hardware_types() if hardware["instance_type"]}
    known = {name: hardware for name, hardware in known.items() if not hardware.get("withdrawn")}
    for name in names:
        if name not in known:
            raise UserError(f"--hardware {name}: {meant(name, known)}")
    return [hardware for name, hardware in known.items() if name in names or not names]
