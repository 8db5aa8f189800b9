"""The table of prices: read, written, over those of the configs; and what AWS says, from a recorded answer."""

import json
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import NoCredentialsError
from botocore.stub import ANY, Stubber

from sweep import verbs
from sweep.__main__ import VERBS, run
from sweep.config import compose
from sweep.spec import UserError
from sweep.spec.facts import Price
from sweep.verdict.costs import money, prices
from sweep.verdict.costs.prices import Clients, Row
from tests.support.running import ROOT, TINY, sweep

HEAD = "hardware,instance_type,kind,region,usd_per_hour,date,source\n"
KEYS = {"aws_access_key_id": "nobody", "aws_secret_access_key": "nothing"}
RECORDED = json.loads((ROOT / "tests" / "data" / "aws_inf2_xlarge.json").read_text())["products"]
INF2 = {
    "name": "inf2_xlarge",
    "instance_type": "inf2.xlarge",
    "price": [
        {"usd_per_hour": 0.75, "kind": "on_demand", "region": "us-east-1", "date": None, "source": "old"},
        {"usd_per_hour": 0.33, "kind": "reserved", "region": None, "date": None, "source": "old"},
    ],
}


def row(hourly: float, kind: str, region: str | None = "us-east-1", hardware: str = "inf2_xlarge") -> Row:
    return Row(hardware, "inf2.xlarge", Price(hourly, kind, region, "2026-11-22", "a, source"))


# --- the table --------------------------------------------------------------------------------------------------------


def test_what_is_written_is_read_and_replaces_what_stood_in_its_place(tmp_path: Path) -> None:
    assert prices.read(tmp_path) == ()
    first = [row(0.7, "on_demand"), row(0.2, "spot"), row(0.8, "on_demand", "eu-west-1")]
    assert prices.write(tmp_path / "new", first) == tmp_path / "new" / "prices.csv"
    assert set(prices.read(tmp_path / "new")) == set(first)
    prices.write(tmp_path / "new", [row(0.71, "on_demand"), row(0.5, "on_demand", None)])
    found = {each.place: each.price.usd_per_hour for each in prices.read(tmp_path / "new")}
    assert found == {
        ("inf2_xlarge", "on_demand", "us-east-1"): 0.71,
        ("inf2_xlarge", "spot", "us-east-1"): 0.2,
        ("inf2_xlarge", "on_demand", "eu-west-1"): 0.8,
        ("inf2_xlarge", "on_demand", None): 0.5,
    }


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("hardware,price\nx,1\n", r"prices.csv:1: the first line must be hardware,instance_type,"),
        ("", r"prices.csv:1: the first line must be"),
        (HEAD + "x,,on_demand,,much,,\n", r"prices.csv:2: usd_per_hour 'much' is not a price"),
        (HEAD + "x,,on_demand,,-1,,\n", r"prices.csv:2: usd_per_hour '-1' is not a price"),
        (HEAD + "x,,on_demand,,inf,,\n", r"prices.csv:2: usd_per_hour 'inf' is not a price"),
        (HEAD + "x,,on_demand,,1,,\nx,,on-demand,,1,,\n", r"prices.csv:3: kind 'on-demand': did you mean 'on_demand'"),
        (HEAD + ",,spot,,1,,\n", r"prices.csv:2: no hardware is named"),
        (HEAD + "x,,spot,,1\n", r"prices.csv:2: it has not 7 cells"),
        (HEAD + "x,,spot,,1,,,more\n", r"prices.csv:2: it has not 7 cells"),
    ],
)
def test_a_wrong_table_is_told_with_its_line(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "prices.csv").write_text(text)
    with pytest.raises(UserError, match=told):
        prices.read(tmp_path)
    with pytest.raises(UserError, match=told):
        prices.write(tmp_path, [row(1.0, "spot")])
    assert (tmp_path / "prices.csv").read_text() == text, "what a person wrote is not lost"


def test_the_table_stands_over_the_configs_and_the_kinds_keep_their_order() -> None:
    table = [row(0.2, "spot"), row(0.7, "on_demand"), row(0.9, "on_demand", "eu-west-1")]
    made = prices.override(INF2, table)
    assert [(p.kind, p.region, p.usd_per_hour) for p in money.list_prices(made)] == [
        ("on_demand", "us-east-1", 0.7),
        ("on_demand", "eu-west-1", 0.9),
        ("reserved", None, 0.33),
        ("spot", "us-east-1", 0.2),
    ]
    assert money.find_price(made) == table[1].price
    assert money.find_price(made, "spot") == table[0].price
    elsewhere = prices.override(INF2, [row(0.9, "on_demand", "eu-west-1")])
    assert [p.usd_per_hour for p in money.list_prices(elsewhere)] == [0.9, 0.75, 0.33], "one's own before the config's"
    assert prices.override(INF2, [row(0.1, "spot", hardware="other")]) is INF2
    assert INF2["price"][0]["usd_per_hour"] == 0.75  # type: ignore[index]  # nothing is changed in place


def test_a_table_alone_begins_with_on_demand_and_this_host_is_what_it_is() -> None:
    table = [row(0.2, "spot"), row(0.7, "on_demand")]
    here = {"name": "local", "instance_type": "inf2.xlarge", "price": []}
    first = money.find_price(prices.override(here, table))
    assert first is not None
    assert first.usd_per_hour == 0.7
    assert prices.override({**here, "instance_type": None}, table)["price"] == []
    assert prices.override({**here, "instance_type": "c5.large"}, table)["price"] == []


# --- AWS --------------------------------------------------------------------------------------------------------------


class Recorded:
    """Both services, which answer what was recorded and refuse anything else."""

    def __init__(self) -> None:
        pricing = boto3.client("pricing", region_name="us-east-1", **KEYS)
        ec2 = boto3.client("ec2", region_name="us-east-1", **KEYS)
        self.clients = Clients(pricing, ec2)
        self.pricing, self.ec2 = Stubber(pricing), Stubber(ec2)

    def __enter__(self) -> "Recorded":
        self.pricing.activate()
        self.ec2.activate()
        return self

    def __exit__(self, *_: object) -> None:
        self.pricing.deactivate()
        self.ec2.deactivate()

    def products(self, *pages: list[dict[str, Any]], instance: str = "inf2.xlarge", region: str = "us-east-1") -> None:
        wanted = {"instanceType": instance, "regionCode": region, "operatingSystem": "Linux", "tenancy": "Shared"}
        wanted |= {"preInstalledSw": "NA", "capacitystatus": "Used"}
        asked: dict[str, Any] = {
            "ServiceCode": "AmazonEC2",
            "FormatVersion": "aws_v1",
            "Filters": [{"Type": "TERM_MATCH", "Field": name, "Value": value} for name, value in wanted.items()],
        }
        for place, page in enumerate(pages):
            last = place == len(pages) - 1
            told = {"FormatVersion": "aws_v1", "PriceList": [json.dumps(product) for product in page]}
            said = {} if place == 0 else {"NextToken": f"page {place}"}
            self.pricing.add_response(
                "get_products", told if last else {**told, "NextToken": f"page {place + 1}"}, {**asked, **said}
            )

    def spot(self, *asked: tuple[str, int, str], instance: str = "inf2.xlarge") -> None:
        history = [
            {
                "AvailabilityZone": f"us-east-1{zone}",
                "InstanceType": instance,
                "ProductDescription": "Linux/UNIX",
                "SpotPrice": price,
                "Timestamp": datetime(2026, 11, day, tzinfo=timezone.utc),
            }
            for zone, day, price in asked
        ]
        expected = {"InstanceTypes": [instance], "ProductDescriptions": ["Linux/UNIX"], "StartTime": ANY}
        self.ec2.add_response("describe_spot_price_history", {"SpotPriceHistory": history}, expected)


@pytest.fixture
def aws() -> Iterator[Recorded]:
    with Recorded() as recorded:
        yield recorded


def test_on_demand_reserved_and_spot_prices_of_a_recorded_answer(aws: Recorded) -> None:
    aws.products(RECORDED[1:], RECORDED[:1])  # on two pages
    aws.spot(("a", 20, "0.30"), ("a", 22, "0.26"), ("b", 21, "0.24"), ("c", 22, "0.20"))
    kinds = ["on_demand", "reserved", "spot"]
    rows, lacking = prices.fetch([INF2], "us-east-1", kinds, "1yr", aws.clients, "2026-11-22")
    assert lacking == []
    assert [each.place for each in rows] == [("inf2_xlarge", kind, "us-east-1") for kind in kinds]
    assert [each.price.usd_per_hour for each in rows] == [0.7582, 0.4777, 0.24]
    assert {each.price.date for each in rows} == {"2026-11-22"}
    assert [each.price.source for each in rows] == [
        "AWS price list of 2026-05-12",
        "AWS price list of 2026-05-12, 1yr standard, no upfront",
        "AWS spot price history, median of 3 zones, 0.2 to 0.26",
    ]
    aws.pricing.assert_no_pending_responses()
    aws.ec2.assert_no_pending_responses()


def test_the_lease_that_is_asked_for(aws: Recorded) -> None:
    aws.products(RECORDED)
    rows, _ = prices.fetch([INF2], "us-east-1", ["reserved"], "3yr", aws.clients, "2026-11-22")
    assert [each.price.usd_per_hour for each in rows] == [0.3276]


def test_several_prices_or_none_are_not_guessed(aws: Recorded) -> None:
    changed = json.loads(json.dumps(RECORDED[0]).replace("0.7582000000", "0.9000000000"))
    aws.products([RECORDED[0], changed])
    aws.spot()
    rows, lacking = prices.fetch([INF2], "us-east-1", ["on_demand", "spot"], "1yr", aws.clients, "2026-11-22")
    assert rows == []
    assert lacking == ["inf2_xlarge on_demand", "inf2_xlarge spot"]


def test_a_refusal_is_one_line_with_what_it_takes(aws: Recorded) -> None:
    aws.pricing.add_client_error("get_products", "AccessDeniedException", "not allowed", 400)
    with pytest.raises(
        UserError, match=r"AWS does not tell prices: .*not allowed; it takes pricing:GetProducts"
    ) as told:
        prices.fetch([INF2], "us-east-1", ["on_demand"], "1yr", aws.clients, "2026-11-22")
    assert "\n" not in str(told.value)


def test_without_credentials_it_says_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    class Nobody:
        def get_paginator(self, name: str) -> None:
            raise NoCredentialsError

    with pytest.raises(UserError, match="set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"):
        prices.fetch([INF2], "us-east-1", ["spot"], "1yr", Clients(Nobody(), Nobody()), "2026-11-22")


def test_without_boto3_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "boto3", None)
    with pytest.raises(UserError, match=r"pip install 'deploy-sweep\[aws\]'"):
        prices.connect("us-east-1")


def test_a_region_that_is_none() -> None:
    with pytest.raises(UserError, match="no region 'us-east-9': did you mean 'us-east-"):
        prices.connect("us-east-9")


# --- the verbs --------------------------------------------------------------------------------------------------------


def test_the_list_names_every_type_and_what_is_not_known(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "prices" in VERBS
    assert verbs.run(["prices", "--outputs", str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    known = [each for each in compose.load_hardware_types() if each["price"]]
    assert all(str(each["name"]) in shown for each in compose.load_hardware_types() if not each.get("withdrawn"))
    assert sum("on_demand" in line for line in shown.splitlines()) >= len(known) - 1
    assert "Not known: " in shown
    assert "prices.csv" not in shown
    prices.write(tmp_path, [row(0.6543, "on_demand")])
    verbs.run(["prices", "--outputs", str(tmp_path)])
    shown = capsys.readouterr().out
    (line,) = [line for line in shown.splitlines() if "0.6543" in line]
    assert line.split()[0] == "inf2_xlarge"
    assert "Instead of those of the configs: 1 price of " in shown
    assert "0.7582" not in shown


def test_refresh_writes_the_table_and_says_so(
    tmp_path: Path, aws: Recorded, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(prices, "connect", lambda region: aws.clients)
    aws.products(RECORDED)
    words = ["--hardware", "inf2_xlarge", "--kind", "on_demand", "--outputs", str(tmp_path)]
    assert verbs.run(["prices", "refresh", *words]) == 0
    assert "1 price of us-east-1 in " in capsys.readouterr().out
    assert [each.price.usd_per_hour for each in prices.read(tmp_path)] == [0.7582]
    aws.products([])
    with pytest.raises(UserError, match="nothing is changed"):
        verbs.run(["prices", "refresh", *words])
    assert "AWS names no price, or several, for inf2_xlarge on_demand" in capsys.readouterr().out
    assert len(prices.read(tmp_path)) == 1


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--kind", "spott"], "--kind spott: did you mean 'spot'"),
        (["--lease", "2yr"], "--lease 2yr: "),
        (["--hardware", "inf2_xlarg"], "--hardware inf2_xlarg: did you mean 'inf2_xlarge'"),
        (["--hardware", "c5_2xlarge_eia2_large"], "--hardware c5_2xlarge_eia2_large: "),
        (["--hardware", "local"], "--hardware local: "),
    ],
)
def test_wrong_words_for_refresh(tmp_path: Path, words: list[str], told: str) -> None:
    with pytest.raises(UserError, match=told):
        verbs.run(["prices", "refresh", *words, "--outputs", str(tmp_path)])


# --- a sweep ----------------------------------------------------------------------------------------------------------

HERE = "hardware.price=[{usd_per_hour:0.5,kind:on_demand,region:x},{usd_per_hour:0.2,kind:spot,region:x}]"


@pytest.mark.usefixtures("fake_pool")
@pytest.mark.parametrize(
    ("words", "usd"), [([], 0.5), (["objective.price=spot"], 0.2), (["objective.price=reserved"], None)]
)
def test_a_sweep_pays_the_kind_of_price_that_is_asked_for(tmp_path: Path, words: list[str], usd: float | None) -> None:
    status, history = sweep(tmp_path, HERE, *words)
    (record,) = history.records.values()
    assert status == 0
    metrics = dict(record.metrics or {})
    if usd is None:
        assert "usd_per_million_items" not in metrics
        assert record.price is None
        return
    assert metrics["usd_per_million_items"] == pytest.approx(usd / 3600 / metrics["throughput_items_per_s"] * 1e6)
    assert record.price is not None
    assert record.price.usd_per_hour == usd


@pytest.mark.usefixtures("fake_pool")
def test_a_sweep_looks_into_the_table_and_the_trial_stays_the_same(tmp_path: Path) -> None:
    _, before = sweep(tmp_path, HERE)
    prices.write(tmp_path, [Row("local", "", Price(0.7, "on_demand", "x", "2026-11-22", "mine"))])
    _, after = sweep(tmp_path, HERE)
    (record,) = after.records.values()
    assert record.price == Price(0.7, "on_demand", "x", "2026-11-22", "mine")
    assert list(before.trials) == list(after.trials), "a price in the table is no part of what a trial is"


def test_a_table_that_cannot_be_read_is_told_before_anything_is_done(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "prices.csv").write_text(HEAD + "local,,on_demand,,much,,\n")
    assert run([*TINY, f"outputs={tmp_path}"]) == 1
    assert "prices.csv:2: usd_per_hour 'much' is not a price" in capsys.readouterr().err
    assert not (tmp_path / "sweeps").exists()
