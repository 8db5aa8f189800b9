"""What hosts cost an hour: the prices of the hardware's files, and over them a table of the user's own.

`<outputs>/prices.csv` has the columns hardware, instance_type, kind, region, usd_per_hour, date, source. A row replaces
the row of the hardware's file with the same kind and region, and comes before others of its kind. `refresh` fills the
table from AWS: on-demand and reserved prices from its price list, spot prices from their history. Prices never change
the identity of a trial: they are looked up when costs are shown.
"""

import csv
import io
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from statistics import median
from typing import Any

from sweep import DISTRIBUTION, files
from sweep.spec import Json, UserError, meant
from sweep.spec.facts import Price
from sweep.spec.settings import PRICES
from sweep.verdict.costs import money

TABLE = "prices.csv"
COLUMNS = ("hardware", "instance_type", "kind", "region", "usd_per_hour", "date", "source")
API_REGION = "us-east-1"  # the price list is served in a few regions only, and answers for all
LEASES = ("1yr", "3yr")
_FILTERS = {  # a plain shared Linux host, as it is rented by the hour
    "operatingSystem": "Linux",
    "tenancy": "Shared",
    "preInstalledSw": "NA",
    "capacitystatus": "Used",
}


@dataclass(frozen=True)
class Row:
    """One row of the table."""

    hardware: str
    instance_type: str  # as AWS spells it; may be empty
    price: Price

    @property
    def place(self) -> tuple[str, str | None, str | None]:
        """What a table has at most one row for."""
        return self.hardware, self.price.kind, self.price.region


def read(outputs: Path) -> tuple[Row, ...]:
    """The user's table; empty where there is none.

    Raises:
        UserError: it cannot be read, or a line of it is wrong: one line with file and line number.
    """
    path = outputs / TABLE
    try:
        lines = csv.DictReader(io.StringIO(path.read_text(encoding="utf-8-sig")), strict=True)
        if tuple(lines.fieldnames or ()) != COLUMNS:
            raise UserError(f"{path}:1: the first line must be {','.join(COLUMNS)}")
        return tuple(_read_row(path, lines.line_num, line) for line in lines)
    except (FileNotFoundError, NotADirectoryError):  # whoever writes there first says what is wrong with the folder
        return ()
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"cannot read {path}: {error}; correct it, or remove it") from None


def _read_row(path: Path, number: int, line: Mapping[str, Any]) -> Row:
    if None in line or None in line.values():
        raise UserError(f"{path}:{number}: it has not {len(COLUMNS)} cells, as the first line has")
    cells = {name: str(value).strip() for name, value in line.items()}
    try:
        hourly = float(cells["usd_per_hour"])
    except ValueError:
        hourly = math.nan
    if not (math.isfinite(hourly) and hourly >= 0):
        raise UserError(f"{path}:{number}: usd_per_hour {cells['usd_per_hour']!r} is not a price")
    if cells["kind"] not in PRICES:
        raise UserError(f"{path}:{number}: kind {cells['kind']!r}: {meant(cells['kind'], PRICES)}")
    if not cells["hardware"]:
        raise UserError(f"{path}:{number}: no hardware is named")
    facts = (cells[name] or None for name in ("kind", "region", "date", "source"))
    return Row(cells["hardware"], cells["instance_type"], Price(hourly, *facts))


def write(outputs: Path, rows: Iterable[Row]) -> Path:
    """Put rows into the table, in place of those of the same hardware, kind and region; returns the table's path.

    Raises:
        UserError: the table that is there cannot be read, or none can be written.
    """
    by_place = {row.place: row for row in (*read(outputs), *rows)}
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(COLUMNS)
    for row in sorted(
        by_place.values(), key=lambda row: (row.hardware, _kind_order(row.price), row.price.region or "")
    ):
        p = row.price
        table.writerow((row.hardware, row.instance_type, p.kind, p.region, f"{p.usd_per_hour:.10g}", p.date, p.source))
    try:
        outputs.mkdir(parents=True, exist_ok=True)
        files.write_whole(outputs / TABLE, text.getvalue())
    except OSError as error:
        raise UserError(files.describe_write_error(error, outputs)) from None
    return outputs / TABLE


def override(declared: Mapping[str, Any], rows: Sequence[Row]) -> Mapping[str, Any]:
    """The hardware with the prices of a table over its own.

    The kinds keep the hardware's order, so that the table does not change which kind is the default. `hardware=local`
    takes the rows of the instance type that it is.
    """
    mine = [row.price for row in rows if _is_meant(row, declared)]
    if not mine:
        return declared
    own = money.list_prices(declared)
    taken = {(price.kind, price.region) for price in mine}
    kept = [price for price in own if (price.kind, price.region) not in taken]
    kinds = dict.fromkeys(price.kind for price in (*own, *sorted(mine, key=_kind_order)))
    ordered = [price for kind in kinds for price in (*mine, *kept) if price.kind == kind]
    return {**declared, "price": [asdict(price) for price in ordered]}


def _kind_order(price: Price) -> int:
    return PRICES.index(str(price.kind))


def _is_meant(row: Row, declared: Mapping[str, Any]) -> bool:
    name, instance = str(declared.get("name")), declared.get("instance_type")
    return row.hardware == name or (name == "local" and bool(instance) and row.instance_type == instance)


# --- from AWS ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Clients:
    """The boto3 clients of the two services that know prices."""

    pricing: Any
    ec2: Any


def connect(region: str) -> Clients:
    """
    Raises:
        UserError: boto3 is not installed, or knows no such region.
    """
    try:
        import boto3
        from botocore.exceptions import BotoCoreError
    except ImportError:
        raise UserError(f"`prices refresh` needs boto3: pip install '{DISTRIBUTION}[aws]'") from None
    try:
        known = boto3.session.Session().get_available_regions("ec2")
        if region not in known:
            raise UserError(f"no region {region!r}: {meant(region, known)}")
        return Clients(boto3.client("pricing", region_name=API_REGION), boto3.client("ec2", region_name=region))
    except BotoCoreError as error:
        raise UserError(_describe_refusal(error)) from None


def fetch(
    types: Sequence[Mapping[str, Any]], region: str, kinds: Sequence[str], lease: str, clients: Clients, today: str
) -> tuple[list[Row], list[str]]:
    """The prices of these hardware types at AWS, and the names of those that have none or several.

    Reserved: standard, nothing paid in advance, for `lease`. Spot: the median over the region's zones.

    Raises:
        UserError: AWS does not answer, or refuses.
    """
    from botocore.exceptions import BotoCoreError, ClientError

    rows, lacking = [], []
    try:
        for declared in types:
            prices = (
                dict(_fetch_listed(declared["instance_type"], region, lease, clients.pricing))
                if set(kinds) - {"spot"}
                else {}
            )
            if "spot" in kinds:
                prices |= _fetch_spot(declared["instance_type"], clients.ec2)
            for kind in kinds:
                if kind in prices:
                    price = Price(prices[kind][0], kind, region, today, prices[kind][1])
                    rows.append(Row(declared["name"], declared["instance_type"], price))
                else:
                    lacking.append(f"{declared['name']} {kind}")
    except (BotoCoreError, ClientError) as error:
        raise UserError(_describe_refusal(error)) from None
    return rows, lacking


def _describe_refusal(error: Exception) -> str:
    words = " ".join(str(error).split())
    fix = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a profile" if "redential" in words else "nothing changed"
    if hasattr(error, "response"):  # AWS answered, and refused
        fix = "it takes pricing:GetProducts, and ec2:DescribeSpotPriceHistory for spot prices"
    return f"AWS does not tell prices: {words.rstrip('.')}; {fix}"


def _fetch_listed(instance: str, region: str, lease: str, pricing: Any) -> Iterator[tuple[str, tuple[float, str]]]:
    """(kind, (USD/h, source)) of the price list, for each kind that has exactly one price."""
    wanted = {"instanceType": instance, "regionCode": region, **_FILTERS}
    filters = [{"Type": "TERM_MATCH", "Field": name, "Value": value} for name, value in wanted.items()]
    pages = pricing.get_paginator("get_products").paginate(
        ServiceCode="AmazonEC2", FormatVersion="aws_v1", Filters=filters
    )
    products = [json.loads(text) for page in pages for text in page["PriceList"]]
    dates = {product.get("publicationDate", "")[:10] for product in products}
    source = "AWS price list" + (f" of {max(dates)}" if any(dates) else "")
    for kind, words in (("on_demand", ""), ("reserved", f", {lease} standard, no upfront")):
        prices = {price for product in products for price in _read_terms(product, kind, lease)}
        if len(prices) == 1:  # of several it is not known which is meant
            yield kind, (prices.pop(), source + words)


def _read_terms(product: Json, kind: str, lease: str) -> Iterator[float]:
    """USD/h of a product's terms of one kind; terms without a price an hour are no offers."""
    offered = product.get("terms", {}).get({"on_demand": "OnDemand", "reserved": "Reserved"}[kind], {})
    for term in offered.values():
        about = term.get("termAttributes", {})
        terms = tuple(about.get(name) for name in ("LeaseContractLength", "OfferingClass", "PurchaseOption"))
        if kind == "reserved" and terms != (lease, "standard", "No Upfront"):
            continue
        for dimension in term["priceDimensions"].values():
            hourly = float(dimension["pricePerUnit"].get("USD") or 0.0)
            if dimension["unit"].lower() == "hrs" and hourly > 0:
                yield hourly


def _fetch_spot(instance: str, ec2: Any) -> dict[str, tuple[float, str]]:
    """The median over the zones' present prices; empty if none has this instance."""
    from datetime import datetime, timezone

    pages = ec2.get_paginator("describe_spot_price_history").paginate(
        InstanceTypes=[instance], ProductDescriptions=["Linux/UNIX"], StartTime=datetime.now(timezone.utc)
    )
    newest: dict[str, Json] = {}
    for row in (row for page in pages for row in page["SpotPriceHistory"]):
        zone = row["AvailabilityZone"]
        if zone not in newest or row["Timestamp"] > newest[zone]["Timestamp"]:
            newest[zone] = row
    prices = [float(row["SpotPrice"]) for row in newest.values()]
    if not prices:
        return {}
    zones = f"{len(prices)} zones, {min(prices):.4g} to {max(prices):.4g}" if len(prices) > 1 else "one zone"
    return {"spot": (median(prices), f"AWS spot price history, median of {zones}")}


def format_price(price: Price) -> str:
    """`0.7582 USD/h on_demand us-east-1 (public price tables 2024-2026)`."""
    values = [getattr(price, field.name) for field in fields(price)]
    words = [f"{values[0]:.6g} USD/h", *(str(word) for word in values[1:4] if word)]
    return " ".join(words) + (f" ({price.source})" if price.source else "")
