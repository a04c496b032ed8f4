from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from greenlove_mlflow.core.provenance import Caveat
from greenlove_mlflow.core.workload import Grid
from greenlove_mlflow.errors import InvalidInputError, UnknownPlaceError
from greenlove_mlflow.tables import country_of_time_zone, find_grid
from greenlove_mlflow.tables.places.grid import DERIVED_LOG_SD, LEAST_REGION_PRICE_LOG_SD, unusual_caveats
from greenlove_mlflow.tables.places.index import _text, country_names, find_place, places

# The states and subregions of eGRID that are about one zone of Electricity Maps.
ZONE_OF_SUBREGION = {
    "ERCT": "US-TEX-ERCO",
    "CAMX": "US-CAL-CISO",
    "NEWE": "US-NE-ISNE",
    "SRTV": "US-TEN-TVA",
    "SRSO": "US-SE-SOCO",
    "SRVC": "US-CAR-DUK",
    "RFCW": "US-MIDA-PJM",
    "RFCE": "US-MIDA-PJM",
    "MROW": "US-MIDW-MISO",
    "SPNO": "US-CENT-SWPP",
    "SPSO": "US-CENT-SWPP",
    "AZNM": "US-SW-SRP",
    "FRCC": "US-FLA-FPL",
    "RMPA": "US-NW-PSCO",
    "US-NY": "US-NY-NYIS",
    "US-TX": "US-TEX-ERCO",
    "US-WA": "US-NW-BPAT",
}


def codes(caveats: tuple[Caveat, ...]) -> set[str]:
    return {caveat.code for caveat in caveats}


def intensity(grid: Grid) -> float:
    assert grid.intensity_g_per_kwh is not None
    return grid.intensity_g_per_kwh.point


def test_given_figures_stand_before_everything_and_are_exact() -> None:
    grid, caveats = find_grid(
        country="DE", carbon_intensity_g_per_kwh=12.5, electricity_price_usd_per_kwh=0.07, time_zone="Asia/Tokyo"
    )
    assert grid.intensity_g_per_kwh is not None
    assert grid.price_usd_per_kwh is not None
    assert grid.intensity_g_per_kwh.is_exact
    assert (grid.intensity_g_per_kwh.point, grid.price_usd_per_kwh.point) == (12.5, 0.07)
    assert grid.intensity_source is not None
    assert grid.intensity_source.producer == "the caller"
    assert caveats == ()


def test_zero_is_a_figure() -> None:
    grid, _ = find_grid(carbon_intensity_g_per_kwh=0.0, electricity_price_usd_per_kwh=0.0)
    assert intensity(grid) == 0.0


def test_one_given_figure_leaves_the_other_to_the_place() -> None:
    grid, _ = find_grid(country="DE", carbon_intensity_g_per_kwh=50.0)
    assert intensity(grid) == 50.0
    assert grid.price_usd_per_kwh is not None
    assert grid.price_usd_per_kwh.point == pytest.approx(0.4351)


@pytest.mark.parametrize("value", [-1.0, math.nan, math.inf, True])
@pytest.mark.parametrize("name", ["carbon_intensity_g_per_kwh", "electricity_price_usd_per_kwh"])
def test_an_impossible_figure_is_refused_by_name(name: str, value: float) -> None:
    with pytest.raises(InvalidInputError, match=name):
        find_grid(**{name: value})


def test_the_named_place_stands_before_environment_and_time_zone() -> None:
    grid, caveats = find_grid(country="DE", environment_place="FR", time_zone="Asia/Tokyo")
    assert (grid.code, grid.basis, caveats) == ("DE", "named", ())


def test_environment_stands_before_address_and_time_zone() -> None:
    grid, _ = find_grid(environment_place="US-TX", address_country="FR", time_zone="Asia/Tokyo")
    assert (grid.code, grid.basis) == ("US-TX", "environment")


def test_address_stands_before_time_zone() -> None:
    grid, _ = find_grid(address_country="FR", time_zone="Asia/Tokyo")
    assert (grid.code, grid.basis) == ("FR", "geoip")


def test_the_time_zone_gives_a_country_and_says_so() -> None:
    grid, caveats = find_grid(time_zone="Europe/Paris")
    assert (grid.code, grid.basis) == ("FR", "time-zone")
    assert codes(caveats) == {"place-from-time-zone"}


@pytest.mark.parametrize("zone", ["UTC", "Etc/UTC", "GMT", "CET", "EST5EDT", "Etc/GMT+5", "No/Such_Zone", None])
def test_a_clock_without_a_place_means_the_world_with_a_wide_range(zone: str | None) -> None:
    grid, caveats = find_grid(time_zone=zone)
    assert (grid.code, grid.basis, intensity(grid)) == ("WORLD", "world", 458.0)
    assert codes(caveats) == {"place-unknown"}
    assert grid.price_usd_per_kwh is not None
    assert grid.intensity_g_per_kwh is not None
    assert grid.intensity_g_per_kwh.high > 2.0 * grid.intensity_g_per_kwh.point


@pytest.mark.parametrize(
    ("zone", "country"),
    [
        ("Europe/Oslo", "NO"),
        ("Europe/Berlin", "DE"),
        ("Africa/Windhoek", "NA"),
        ("Asia/Calcutta", "IN"),
        ("US/Pacific", "US"),
        ("posix/Asia/Tokyo", "JP"),
        ("America/Sao_Paulo", "BR"),
        ("Japan", "JP"),
    ],
)
def test_old_and_shared_zones_name_the_country_they_are_named_for(zone: str, country: str) -> None:
    assert country_of_time_zone(zone) == country


def test_every_zone_of_the_table_has_a_country() -> None:
    zones = [line.split("\t")[2] for line in _text("zone1970.tab").splitlines() if line and not line.startswith("#")]
    assert len(zones) > 300
    assert all(country_of_time_zone(zone) in country_names() for zone in zones)


@pytest.mark.parametrize(("name", "code"), [("NA", "NA"), ("namibia", "NA"), ("DEU", "DE"), ("Türkiye", "TR")])
def test_a_country_is_known_by_either_code_and_by_name(name: str, code: str) -> None:
    assert find_grid(country=name)[0].code == code


def test_namibia_is_not_a_missing_value() -> None:
    assert find_grid(country="NA")[0].place == "Namibia"


def test_uk_is_taken_for_gb_and_said() -> None:
    grid, caveats = find_grid(country="UK")
    assert grid.code == "GB"
    assert codes(caveats) == {"place-code"}


@pytest.mark.parametrize("name", ["Germny", "XX", "", "Deutschlnd", "12"])
def test_an_unknown_country_is_refused(name: str) -> None:
    with pytest.raises(UnknownPlaceError, match="unknown country"):
        find_grid(country=name)


def test_a_refusal_names_the_nearest() -> None:
    with pytest.raises(UnknownPlaceError, match="DE \\(Germany\\)"):
        find_grid(country="Germny")
    with pytest.raises(UnknownPlaceError, match="US-VA \\(Virginia\\)"):
        find_grid(region="Virgina")


def test_an_unknown_place_in_the_environment_is_refused_too() -> None:
    with pytest.raises(UnknownPlaceError):
        find_grid(environment_place="Atlantis", time_zone="UTC")


def test_a_country_without_a_figure_needs_one_given() -> None:
    with pytest.raises(UnknownPlaceError, match="Monaco"):
        find_grid(country="MC")
    grid, caveats = find_grid(country="MC", carbon_intensity_g_per_kwh=60.0)
    assert (grid.place, intensity(grid)) == ("Monaco", 60.0)
    assert codes(caveats) == {"price-of-region"}


def test_a_region_of_another_country_is_refused() -> None:
    with pytest.raises(UnknownPlaceError, match="in Germany"):
        find_grid(country="DE", region="VA")


def test_an_ambiguous_region_is_refused_with_both() -> None:
    with pytest.raises(UnknownPlaceError, match="AU-WA, US-WA"):
        find_grid(region="WA")
    assert find_grid(country="US", region="WA")[0].code == "US-WA"


@pytest.mark.parametrize(
    ("region", "code"),
    [
        ("VA", "US-VA"),
        ("virginia", "US-VA"),
        ("SRVC", "SRVC"),
        ("CA-ON", "CA-ON"),
        ("Ontario", "CA-ON"),
        ("AU-NSW", "AU-NSW"),
        ("CN-BJ", "CN-BJ"),
        ("US-MIDA-PJM", "US-MIDA-PJM"),
        ("Georgia", "US-GA"),
    ],
)
def test_a_region_is_known_by_code_and_by_name(region: str, code: str) -> None:
    assert find_grid(region=region)[0].code == code


def test_scopes_are_never_mixed() -> None:
    direct, caveats = find_grid(region="US-VA", scope="direct")
    assert (intensity(direct), caveats) == (pytest.approx(244.8), ())
    lifecycle, caveats = find_grid(region="US-VA")
    assert codes(caveats) == {"intensity-derived"}
    nation = places()["US"].intensities
    ratio = nation["lifecycle"].value / nation["direct"].value
    assert intensity(lifecycle) == pytest.approx(244.8 * ratio)
    assert lifecycle.scope == "lifecycle"


def test_a_country_without_a_direct_figure_has_none_and_says_so() -> None:
    grid, caveats = find_grid(country="DE", scope="direct")
    assert grid.intensity_g_per_kwh is None
    assert codes(caveats) == {"no-direct-intensity"}


def test_another_scope_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="scope"):
        find_grid(country="DE", scope="marginal")  # type: ignore[arg-type]


def test_a_region_takes_its_countrys_price_and_a_country_without_one_that_of_its_neighbours() -> None:
    grid, caveats = find_grid(region="CA-ON")
    assert grid.price_usd_per_kwh is not None
    canada = find_grid(country="CA")[0].price_usd_per_kwh
    assert canada is not None
    assert grid.price_usd_per_kwh.point == canada.point
    assert caveats == ()
    namibia, caveats = find_grid(country="NA")
    assert codes(caveats) == {"price-of-region"}
    assert namibia.price_usd_per_kwh is not None
    assert canada.log_half_width < namibia.price_usd_per_kwh.log_half_width


def test_sources_name_producer_and_table() -> None:
    grid, _ = find_grid(region="US-TX", scope="direct")
    assert grid.intensity_source is not None
    assert grid.price_source is not None
    assert grid.intensity_source.producer == "US EPA eGRID"
    assert grid.price_source.producer == "US EIA"
    assert grid.price_source.table == "electricity_prices"
    assert grid.price_source.url.startswith("https://")


def test_a_derived_lifecycle_figure_is_as_far_off_as_its_range_says() -> None:
    logs = []
    for subregion, zone in ZONE_OF_SUBREGION.items():
        derived = intensity(find_grid(region=subregion)[0])
        logs.append(math.log(places()[zone].intensities["lifecycle"].value / derived))
    assert math.sqrt(sum(log * log for log in logs) / len(logs)) < DERIVED_LOG_SD


@settings(deadline=None)
@given(st.sampled_from(sorted(places())))
def test_every_place_is_found_by_its_own_code(code: str) -> None:
    if code == "WORLD":
        return
    place = find_place(code)
    assert place.code == code
    grid, _ = find_grid(environment_place=code)
    assert grid.intensity_g_per_kwh is None or grid.intensity_g_per_kwh.low <= intensity(grid)


@pytest.mark.parametrize(("text", "code"), [("US-PR", "PR"), ("CN-HK", "HK"), ("FR-RE", "RE"), ("us-gu", "GU")])
def test_a_territory_that_a_country_lists_is_a_country_of_its_own(text: str, code: str) -> None:
    assert find_place(text).code == code


def test_the_european_union_is_a_place() -> None:
    for name in ("EU", "European Union"):
        grid, caveats = find_grid(country=name)
        assert intensity(grid) == pytest.approx(213.02)
        assert grid.price_usd_per_kwh is not None
        assert caveats == ()


def test_three_neighbours_that_agree_leave_a_range_all_the_same() -> None:
    price = find_grid(country="LK")[0].price_usd_per_kwh
    assert price is not None
    assert price.log_half_width == pytest.approx(1.96 * LEAST_REGION_PRICE_LOG_SD, rel=1e-3)


@pytest.mark.parametrize(("name", "region"), [("Beijing", "CN-BJ"), ("Virginia", "US-VA")])
def test_a_region_given_as_a_country_is_called_a_region(name: str, region: str) -> None:
    with pytest.raises(UnknownPlaceError, match=f"it is a region: region='{region}'"):
        find_grid(country=name)
    assert find_grid(region=region)[0].place == name


def test_a_stated_figure_beyond_any_published_one_asks_for_its_unit() -> None:
    usual = {"carbon_intensity_g_per_kwh": 1400.0, "electricity_price_usd_per_kwh": 0.8, "pue": 2.5}
    assert unusual_caveats(**usual) == unusual_caveats(**dict.fromkeys(usual)) == ()
    for name, value, words in (
        ("carbon_intensity_g_per_kwh", 1e6, "carbon intensity of 1e+06 is above 1400 g/kWh"),
        ("electricity_price_usd_per_kwh", 30.0, "electricity price of 30 is above 0.8 $/kWh"),
        ("pue", 50.0, "PUE of 50 is above 2.5,"),
    ):
        caveats = unusual_caveats(**{**usual, name: value})
        assert [(each.code, words in each.message) for each in caveats] == [("unusual-figure", True)]
