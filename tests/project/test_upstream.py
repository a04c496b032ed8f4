"""The fetchers of the tables, on recorded pages; none of them is run against the live pages here."""

from __future__ import annotations

import importlib
import io
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from greenlove_mlflow.tables import data_root

RECORDED = Path(__file__).resolve().parents[1] / "recordings" / "upstream"


@pytest.fixture
def upstream(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    before = set(sys.modules)
    monkeypatch.syspath_prepend(str(data_root() / "upstream"))
    yield importlib.import_module
    for name in set(sys.modules) - before:
        if str(data_root() / "upstream") in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


def pages_of(module: ModuleType) -> dict[str, bytes]:
    return {name: (RECORDED / name).read_bytes() for name in module.PAGES}


def values(lines: list[dict[str, str]], row: str) -> dict[str, str]:
    return {line["column"]: line["value"] for line in lines if line["row"] == row and line["change"] == "set"}


@pytest.mark.parametrize("name", ["electricity_prices", "carbon_intensity"])
def test_every_page_is_read_over_https_from_a_stated_address(upstream: Any, name: str) -> None:
    assert all(address.startswith("https://") for address in upstream(name).PAGES.values())


@pytest.mark.parametrize("name", ["electricity_prices", "carbon_intensity", "un_subregions"])
def test_the_recorded_pages_make_the_changes_in_the_repository(upstream: Any, name: str) -> None:
    module, versions = upstream(name), upstream("versions")
    before = versions.version_before(name, "2026-11-27").to_dict("records")
    lines = module.changes(pages_of(module), before)
    kept = [
        line for line in versions.read_changes(name, "2026-11-27") if line["row"] in {each["row"] for each in lines}
    ]
    assert lines == kept[: len(lines)]


def test_a_price_is_the_mean_of_two_half_years_in_dollars(upstream: Any) -> None:
    module = upstream("electricity_prices")
    before = upstream("versions").version_before("electricity_prices", "2026-11-27").to_dict("records")
    lines = module.changes(pages_of(module), before)
    rates = module.usd_per_eur((RECORDED / "ecb_eurofxref.csv").read_bytes())
    assert rates["2025-S1"] == pytest.approx(1.0927, abs=1e-4)
    assert rates["2025-S2"] == pytest.approx(1.1658, abs=1e-4)
    germany = values(lines, "country|DE")
    assert float(germany["residential_usd_per_kwh"]) == pytest.approx((0.3835 * 1.0927 + 0.3869 * 1.1658) / 2, abs=1e-4)
    assert float(germany["business_usd_per_kwh"]) == pytest.approx((0.2636 * 1.0927 + 0.2618 * 1.1658) / 2, abs=1e-4)
    assert values(lines, "country|GR")
    assert not values(lines, "country|EL")


def test_what_is_no_country_or_has_no_figure_is_refused(upstream: Any) -> None:
    module = upstream("electricity_prices")
    before = upstream("versions").version_before("electricity_prices", "2026-11-27").to_dict("records")
    lines = module.changes(pages_of(module), before)
    rows = {line["row"] for line in lines}
    # The euro area, Liechtenstein without a grid figure, Ukraine and the United Kingdom without a price of 2025.
    assert not rows & {"country|EA", "country|LI", "country|UA", "country|GB"}
    assert "union|EU" in rows
    # Iceland has a first half year alone, and no price of companies.
    iceland = values(lines, "country|IS")
    assert float(iceland["residential_usd_per_kwh"]) == pytest.approx(0.2019 * 1.0927, abs=1e-4)
    assert iceland["business_usd_per_kwh"] == ""


def test_rates_are_read_from_the_archive_too(upstream: Any) -> None:
    module = upstream("electricity_prices")
    content = (RECORDED / "ecb_eurofxref.csv").read_bytes()
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("eurofxref-hist.csv", content)
    assert module.usd_per_eur(packed.getvalue()) == module.usd_per_eur(content)


def test_a_region_with_few_prices_takes_its_continents(upstream: Any) -> None:
    module = upstream("electricity_prices")
    rows = [
        {"geo_type": "country", "code": code, "residential_usd_per_kwh": price}
        for code, price in (("DE", "0.4"), ("FR", "0.3"), ("NL", "0.3"), ("PL", "0.2"))
    ]
    lines = module.derived(rows, "2026-11-27")
    western, eastern = values(lines, "region|M49-155"), values(lines, "region|M49-151")
    assert float(western["residential_usd_per_kwh"]) == pytest.approx((0.4 * 0.3 * 0.3) ** (1 / 3), abs=1e-4)
    assert (western["country_count"], eastern["country_count"]) == ("3", "4")
    assert "Europe" in eastern["source"]


def test_an_unconfirmed_figure_is_confirmed_replaced_or_left(upstream: Any) -> None:
    module = upstream("carbon_intensity")

    def row(code: str, value: str) -> dict[str, str]:
        kept = {"geo_type": "country", "code": code[:2], "country_code_3": code, "scope": "lifecycle"}
        return {**kept, "intensity_g_per_kwh": value, "data_year_confirmed": "false"}

    before = [row("CRI", "24.2"), row("DEU", "342.5"), row("VNM", "460")]
    lines = module.changes(pages_of(module), before)
    assert values(lines, "country|CR|lifecycle")["intensity_g_per_kwh"] == "63.01"
    germany = values(lines, "country|DE|lifecycle")
    assert germany == {"data_year": "2024", "data_year_confirmed": "true"}
    assert values(lines, "country|VN|lifecycle") == {}
    assert values(lines, "union|EU|lifecycle")["intensity_g_per_kwh"] == "213.02"


def test_what_would_change_is_printed_line_by_line(upstream: Any) -> None:
    import pandas as pd

    rebuild = upstream("rebuild")
    before = pd.DataFrame([{"code": "A", "value": "1"}, {"code": "B", "value": "2"}], dtype=object)
    after = pd.DataFrame([{"code": "A", "value": "3"}, {"code": "C", "value": "2"}], dtype=object)
    assert rebuild.differences(before, after, ("code",)) == ["+ C", "- B", "~ A value: 1 -> 3"]
    assert rebuild.differences(before, before, ("code",)) == []


def test_a_check_writes_nothing_and_says_what_differs(upstream: Any, capsys: pytest.CaptureFixture[str]) -> None:
    rebuild = upstream("rebuild")
    assert rebuild.main(["un_subregions", "--check"]) == 0
    assert "as its changes make it" in capsys.readouterr().out
    arguments = ["carbon_intensity", "--fetch", "--check", "--version", "2026-11-27", "--pages", str(RECORDED)]
    assert rebuild.main(arguments) in (0, 1)
