"""Offers beside home: time, rent, energy, CO2e, memory and the chances of each."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from greenlove_mlflow.core.account.estimate import Estimate, estimate_training
from greenlove_mlflow.core.account.ratio_book import is_same_workload, measured_ratio
from greenlove_mlflow.core.account.run_facts import RunFacts, without_idle
from greenlove_mlflow.core.energy.power import ASSUMED_UTILIZATION, model_power
from greenlove_mlflow.core.interval import Interval
from greenlove_mlflow.core.offers.choice import best_value, fastest, saving
from greenlove_mlflow.core.offers.compare import Comparison, compare_offers
from greenlove_mlflow.core.offers.figures import offer_grid
from greenlove_mlflow.core.offers.offer import (
    Offer,
    PriceSheet,
    Rental,
    fits_memory,
    fitting_batch_size,
)
from greenlove_mlflow.core.offers.regions import Region, Regions
from greenlove_mlflow.core.provenance import Source
from greenlove_mlflow.core.records import StepProfile
from greenlove_mlflow.core.speed.gpus import GpuSpec, SpeedRatio
from greenlove_mlflow.core.workload import Grid
from greenlove_mlflow.errors import UnknownPlaceError
from greenlove_mlflow.tables import read_default_pue, read_gpu_specs, read_price_sheet, read_regions
from tests.support.factories import a_fit, a_grid, a_machine, a_power, a_workload, some_statistics

EXACT_RATIO = SpeedRatio(ratio=Interval.exactly(2.0), basis="given")


def an_offer(**over: Any) -> Offer:
    fields = {
        "provider": "Cloud",
        "gpu": "Card 80GB",
        "gpu_id": "card",
        "memory_gib": 80.0,
        "price_usd_per_hour": 2.0,
        "regions": ("north",),
        "as_of": "2026-09-28",
    }
    return Offer(**{**fields, **over})


def a_spec(**over: Any) -> GpuSpec:
    return GpuSpec(**{"gpu_id": "card", "name": "Card", "tdp_w": 400.0, "idle_w": 60.0, "memory_gib": 80.0, **over})


def a_region(name: str = "north", intensity: float | None = 30.0, claim: str | None = None, **over: Any) -> Region:
    fields = {"name": name, "country": "IS", "location": "", "intensity_g_per_kwh": intensity, "energy_claim": claim}
    return Region(**{**fields, **over})


def a_home(
    *, time_s: float = 36_000.0, width: float = 0.1, statistics: RunFacts | None = None, **over: Any
) -> Estimate:
    fields = {
        "time_s": Interval.from_log_width(time_s, width),
        "energy_kwh": Interval.from_log_width(5.0, 0.2),
        "cost_usd": Interval.from_log_width(2.0, 0.25),
        "co2_g": Interval.from_log_width(1500.0, 0.3),
        "workload": a_workload(),
        "grid": a_grid(),
        "statistics": statistics or some_statistics(),
    }
    return Estimate(**{**fields, **over})


def compared(home: Estimate, *offers: Offer, ratio: SpeedRatio = EXACT_RATIO, **over: Any) -> Comparison:
    fields = {
        "sheet": PriceSheet(version="1", as_of="2026-09-28", offers=offers, source=Source(producer="p", title="t")),
        "ratios": {each.gpu_id: ratio for each in offers},
        "specs": {each.gpu_id: a_spec(gpu_id=each.gpu_id) for each in offers},
        "regions": Regions([a_region(), a_region("south", 400.0)]),
        "pue": Interval.exactly(1.2),
    }
    return compare_offers(home, **{**fields, **over})


def codes(row: Any) -> set[str]:
    return {caveat.code for caveat in row.estimate.caveats}


def test_time_rent_and_energy_follow_from_the_ratio() -> None:
    row = compared(a_home(width=0.0), an_offer()).rows[0]
    assert row.estimate.time_s.point == pytest.approx(18_000.0)
    assert row.estimate.cost_usd is not None
    assert row.estimate.cost_usd.point == pytest.approx(10.0)
    assert row.estimate.energy_kwh is not None
    assert row.estimate.energy_kwh.point == pytest.approx(5.0 * 0.4 * 0.70 * 1.2)
    assert row.estimate.co2_g is not None
    assert row.estimate.co2_g.point == pytest.approx(5.0 * 0.4 * 0.70 * 1.2 * 30.0)


def test_the_range_of_time_adds_that_of_home_and_of_the_ratio() -> None:
    ratio = SpeedRatio(ratio=Interval.from_log_width(2.0, 0.4), basis="spec")
    steps_alone = some_statistics(fit=a_fit(one_off_s=0.0, first_epoch_s=9.0))
    row = compared(a_home(width=0.3, statistics=steps_alone), an_offer(), ratio=ratio).rows[0]
    assert row.estimate.time_s.log_half_width == pytest.approx(0.5)


def test_an_offer_without_a_price_has_time_and_co2_but_no_cost() -> None:
    row = compared(a_home(), an_offer(price_usd_per_hour=None, billing="contact-sales")).rows[0]
    assert row.estimate.cost_usd is None
    assert row.p_cheaper is None
    assert row.estimate.co2_g is not None
    assert not row.on_pareto_front


def test_only_the_billing_that_is_asked_for_is_shown() -> None:
    offers = (an_offer(), an_offer(billing="spot", price_usd_per_hour=1.0))
    assert [row.offer.billing for row in compared(a_home(), *offers).rows] == ["on-demand"]
    assert len(compared(a_home(), *offers, billing=("on-demand", "spot")).rows) == 2


def test_the_chances_are_those_of_a_simulation_that_shares_home_time() -> None:
    ratio = SpeedRatio(ratio=Interval.from_log_width(1.1, 0.3), basis="spec")
    home = a_home(width=0.6, cost_usd=Interval.from_log_width(20.0, float(np.hypot(0.6, 0.2))))
    row = compared(home, an_offer(), ratio=ratio).rows[0]
    random = np.random.default_rng(2)
    noise = random.normal(0.0, 1.0 / 1.96, (3, 300_000))
    log_time, log_ratio = 0.6 * noise[0], np.log(1.1) + 0.3 * noise[1]
    home_usd = np.log(20.0) + log_time + 0.2 * noise[2]
    offer_usd = np.log(20.0) + log_time - log_ratio
    assert row.p_faster == pytest.approx(float((log_ratio > 0).mean()), abs=0.01)
    assert row.p_cheaper == pytest.approx(float((offer_usd < home_usd).mean()), abs=0.01)


def lopsided(point: float, below: float, above: float, draws: np.ndarray) -> tuple[Interval, np.ndarray]:
    """A figure whose range is another below than above its point, and draws of it; widths are log half-widths."""
    interval = Interval(point=point, low=point * float(np.exp(-below)), high=point * float(np.exp(above)))
    return interval, np.log(point) + np.where(draws < 0.0, below, above) / 1.96 * draws


# Home costs 20 dollars or emits 1,500 g, known well on one side and badly on the other; the offer lies on either side.
@pytest.mark.parametrize("price_usd_per_hour", [2.4, 4.0, 6.0])
@pytest.mark.parametrize(("below", "above"), [(0.05, 0.8), (0.8, 0.05), (0.4, 0.4)])
def test_the_chance_of_less_cost_is_that_of_the_side_of_the_range_that_faces_the_offer(
    price_usd_per_hour: float, below: float, above: float
) -> None:
    draws = np.random.default_rng(8).normal(0.0, 1.0, (2, 200_000))
    cost_usd, home_log = lopsided(20.0, below, above, draws[0])
    home = a_home(time_s=36_000.0, width=0.0, cost_usd=cost_usd)
    ratio = SpeedRatio(ratio=Interval.from_log_width(2.0, 0.3), basis="given")
    row = compared(home, an_offer(price_usd_per_hour=price_usd_per_hour), ratio=ratio).rows[0]
    offer_log = np.log(price_usd_per_hour * 5.0) + 0.3 / 1.96 * draws[1]
    assert row.p_cheaper == pytest.approx(float((offer_log < home_log).mean()), abs=0.01)


@pytest.mark.parametrize("times", [0.5, 1.0, 2.0])
@pytest.mark.parametrize(("below", "above"), [(0.05, 1.2), (1.2, 0.05)])
def test_the_chance_of_less_co2_is_that_of_the_side_of_the_range_that_faces_the_offer(
    times: float, below: float, above: float
) -> None:
    draws = np.random.default_rng(9).normal(0.0, 1.0, (2, 200_000))
    exact = a_home(time_s=36_000.0, width=0.0)
    emits = compared(exact, an_offer()).rows[0].estimate.co2_g
    assert emits is not None
    co2_g, home_log = lopsided(emits.point * times, below, above, draws[0])
    row = compared(a_home(time_s=36_000.0, width=0.0, co2_g=co2_g), an_offer()).rows[0]
    side = np.where(draws[1] < 0.0, np.log(emits.point / emits.low), np.log(emits.high / emits.point))
    offer_log = np.log(emits.point) + side / 1.96 * draws[1]
    assert row.p_less_co2 == pytest.approx(float((offer_log < home_log).mean()), abs=0.01)


def test_nothing_is_cheaper_or_cleaner_than_what_costs_and_emits_nothing() -> None:
    free = a_home(cost_usd=Interval.exactly(0.0), co2_g=Interval.exactly(0.0))
    row = compared(free, an_offer()).rows[0]
    assert (row.p_cheaper, row.p_less_co2) == (0.0, 0.0)
    unknown = compared(a_home(cost_usd=None, co2_g=None), an_offer()).rows[0]
    assert (unknown.p_cheaper, unknown.p_less_co2) == (None, None)
    clean = compared(a_home(), an_offer(), regions=Regions([a_region(intensity=0.0)])).rows[0]
    assert clean.p_less_co2 == 1.0


def test_co2_differs_by_the_grid_of_the_region_that_is_named() -> None:
    offer = an_offer(regions=("north", "south"))
    figures = {}
    for region in ("north", "south"):
        co2_g = compared(a_home(), offer, region=region).rows[0].estimate.co2_g
        assert co2_g is not None
        figures[region] = co2_g.point
    assert figures["south"] / figures["north"] == pytest.approx(400.0 / 30.0)


def test_iceland_against_virginia_in_the_real_tables() -> None:
    sheet = read_price_sheet()
    regions = Regions(read_regions())
    h100 = next(offer for offer in sheet.offers if offer.gpu_id == "nvidia-h100-sxm5-80gb")
    found = {
        name: compared(
            a_home(),
            h100,
            region=name,
            regions=regions,
            specs={spec.gpu_id: spec for spec in read_gpu_specs()},
            pue=read_default_pue("cloud")[0],
        ).rows[0]
        for name in ("eu-iceland1-a", "us-east1-a")
    }
    iceland, virginia = found["eu-iceland1-a"], found["us-east1-a"]
    assert iceland.estimate.co2_g is not None
    assert virginia.estimate.co2_g is not None
    assert virginia.estimate.co2_g.point > 10.0 * iceland.estimate.co2_g.point
    assert iceland.co2_market_g == Interval.exactly(0.0)
    assert virginia.co2_market_g is None
    assert iceland.estimate.co2_g.point > 0.0


def test_no_region_named_takes_the_median_and_holds_them_all() -> None:
    offer = an_offer(regions=("north", "mid", "south"))
    regions = Regions([a_region(), a_region("mid", 200.0), a_region("south", 400.0)])
    grid = compared(a_home(), offer, regions=regions).rows[0].estimate.grid
    assert grid.intensity_g_per_kwh is not None
    assert grid.intensity_g_per_kwh.point == 200.0
    assert grid.intensity_g_per_kwh.low <= 30.0
    assert grid.intensity_g_per_kwh.high >= 400.0


@pytest.mark.parametrize("offer", [an_offer(regions=()), an_offer(regions=("unheard-of",))])
def test_an_unknown_region_means_unknown_co2_not_zero(offer: Offer) -> None:
    row = compared(a_home(), offer).rows[0]
    assert row.estimate.co2_g is None
    assert row.p_less_co2 is None
    assert row.co2_market_g is None
    assert "region-unknown" in codes(row)


@pytest.mark.parametrize("offer", [an_offer(regions=()), an_offer(regions=("unheard-of",))])
def test_an_offer_without_a_known_region_takes_those_of_its_provider(offer: Offer) -> None:
    own = [a_region(name, figure, provider="Cloud") for name, figure in (("a", 20.0), ("b", 100.0), ("c", 400.0))]
    others = [a_region("d", 900.0, provider="Other"), a_region("e", None, provider="Cloud")]
    grid = offer_grid(offer, Regions([*own, *others]))
    assert grid.intensity_g_per_kwh is not None
    assert grid.intensity_g_per_kwh.point == 100.0
    assert grid.intensity_g_per_kwh.low <= 20.0
    assert 400.0 <= grid.intensity_g_per_kwh.high < 900.0
    assert [caveat.code for caveat in grid.caveats] == ["region-of-provider"]
    assert not grid.is_claimed
    assert offer_grid(offer, Regions(others)).intensity_g_per_kwh is None


@pytest.mark.parametrize("order", [lambda one, two: [one, two], lambda one, two: [two, one]])
def test_a_region_called_as_another_providers_is_the_offers_own(order: Callable[..., list[Region]]) -> None:
    elsewhere, own = a_region("east", 400.0, provider="Another"), a_region("east", 30.0, provider="Own")
    regions = Regions(order(elsewhere, own))
    for offer, g_per_kwh in ((an_offer(provider="Own"), 30.0), (an_offer(provider="Another"), 400.0)):
        for grid in (
            offer_grid(offer, regions, region="east"),
            offer_grid(dataclasses.replace(offer, regions=("east",)), regions),
            offer_grid(dataclasses.replace(offer, regions=()), regions),
        ):
            assert grid.intensity_g_per_kwh is not None
            assert grid.intensity_g_per_kwh.point == g_per_kwh


def test_a_region_of_several_other_providers_is_refused_unless_one_is_named() -> None:
    regions = Regions([a_region("east", 400.0, provider="Another"), a_region("east", 30.0, provider="Own")])
    for offer, region in ((an_offer(regions=("east",)), None), (an_offer(), "east")):
        with pytest.raises(UnknownPlaceError, match="'Another east' or 'Own east'"):
            offer_grid(offer, regions, region=region)
    for offer, region in ((an_offer(regions=("Own east",)), None), (an_offer(), "Own east")):
        grid = offer_grid(offer, regions, region=region)
        assert grid.intensity_g_per_kwh is not None
        assert grid.intensity_g_per_kwh.point == 30.0


def test_a_region_named_with_the_offers_own_provider_is_listed() -> None:
    regions = Regions([a_region("east", provider="Own")])
    assert offer_grid(an_offer(provider="Own", regions=("east",)), regions, region="Own east").caveats == ()


def test_a_region_that_no_table_knows_is_refused() -> None:
    with pytest.raises(UnknownPlaceError, match="north, south"):
        compared(a_home(), an_offer(), region="atlantis")


def test_a_region_where_the_sheet_does_not_list_the_offer_is_told() -> None:
    assert "not-listed-in-region" in codes(compared(a_home(), an_offer(), region="south").rows[0])


def test_a_claim_counts_only_when_every_region_has_one() -> None:
    regions = Regions([a_region(claim="100% hydro"), a_region("south", 400.0)])
    sure = compared(a_home(), an_offer(), regions=regions).rows[0]
    mixed = compared(a_home(), an_offer(regions=("north", "south")), regions=regions).rows[0]
    assert sure.co2_market_g == Interval.exactly(0.0)
    assert mixed.co2_market_g is None
    assert sure.estimate.co2_g is not None
    assert sure.estimate.co2_g.point > 0.0


def test_direct_figures_are_never_set_against_lifecycle_ones() -> None:
    home = a_home(grid=Grid(**{**_fields(a_grid()), "scope": "direct"}))
    assert compared(home, an_offer()).rows[0].estimate.co2_g is None
    regions = Regions([a_region(intensity_direct_g_per_kwh=10.0)])
    row = compared(home, an_offer(), regions=regions).rows[0]
    assert row.estimate.grid.intensity_g_per_kwh is not None
    assert row.estimate.grid.intensity_g_per_kwh.point == 10.0
    assert row.estimate.grid.scope == "direct"


def _fields(grid: Grid) -> dict[str, Any]:
    return {field.name: getattr(grid, field.name) for field in dataclasses.fields(grid)}


def test_the_board_that_was_metered_at_home_draws_what_it_drew() -> None:
    statistics = some_statistics(home=a_spec(), power=(a_power(power_w=200.0),))
    row = compared(a_home(width=0.0, statistics=statistics), an_offer()).rows[0]
    assert row.estimate.energy_kwh is not None
    assert row.estimate.energy_kwh.point == pytest.approx(5.0 * 0.2 * 1.2)
    assert "offer-power-modelled" not in codes(row)


def test_another_board_draws_the_share_of_its_tdp_that_home_drew() -> None:
    statistics = some_statistics(home=a_spec(gpu_id="other", tdp_w=100.0, idle_w=15.0), power=(a_power(power_w=40.0),))
    row = compared(a_home(width=0.0, statistics=statistics), an_offer()).rows[0]
    assert row.estimate.energy_kwh is not None
    assert row.estimate.energy_kwh.point == pytest.approx(5.0 * 0.4 * 0.4 * 1.2)
    assert "offer-power-modelled" in codes(row)


def test_a_board_of_unknown_power_has_unknown_energy() -> None:
    row = compared(a_home(), an_offer(), specs={"card": a_spec(tdp_w=None)}).rows[0]
    assert row.estimate.energy_kwh is None
    assert row.estimate.co2_g is None
    assert row.estimate.cost_usd is not None
    assert "offer-power-unknown" in codes(row)


def test_memory_that_does_not_suffice_is_told_with_a_batch_that_would() -> None:
    home = a_home(statistics=some_statistics(peak_memory_gib=100.0), workload=a_workload(batch_size=64))
    row = compared(home, an_offer()).rows[0]
    assert row.fits_memory is False
    assert row.fitting_batch_size == 32
    assert "memory-too-small" in codes(row)
    held = a_home(
        statistics=some_statistics(peak_memory_gib=100.0, fixed_memory_gib=60.0), workload=a_workload(batch_size=64)
    )
    assert compared(held, an_offer()).rows[0].fitting_batch_size == 16
    assert compared(a_home(), an_offer()).rows[0].fits_memory is None
    assert fits_memory(70.0, 80.0) is True
    assert fitting_batch_size(100.0, 0.5, 64) is None


def test_the_pareto_front_holds_what_nothing_beats_in_both() -> None:
    offers = tuple(
        an_offer(gpu=name, gpu_id=name, price_usd_per_hour=price) for name, price in (("a", 2.0), ("b", 9.0))
    )
    ratios = {"a": EXACT_RATIO, "b": SpeedRatio(ratio=Interval.exactly(4.0), basis="given")}
    rows = compared(a_home(), *offers, ratios=ratios).rows
    assert [row.on_pareto_front for row in rows] == [True, True]
    worse = {**ratios, "b": SpeedRatio(ratio=Interval.exactly(1.5), basis="given")}
    assert [row.on_pareto_front for row in compared(a_home(), *offers, ratios=worse).rows] == [True, False]


def test_the_pareto_front_counts_the_start_of_an_instance() -> None:
    # Half of home's hour, but no result sooner than at home, for more.
    home = a_home(time_s=400.0, cost_usd=Interval.exactly(0.01))
    for start_s, on_front in ((100.0, True), (250.0, False)):
        row = compared(home, an_offer(), rental=Rental(start_s=Interval.exactly(start_s))).rows[0]
        assert row.estimate.time_s.point == pytest.approx(200.0, rel=0.02)
        assert row.on_pareto_front is on_front
        assert (row.p_faster > 0.5) is on_front


def test_a_board_whose_idle_power_nobody_stated_is_not_without_any() -> None:
    # The median of the boards that state it, the user's own left out: 60 W of 400 W.
    known = {
        "stated": a_spec(gpu_id="stated"),
        "low": a_spec(gpu_id="low", idle_w=20.0),
        "high": a_spec(gpu_id="high", idle_w=200.0),
        "own": a_spec(gpu_id="own", idle_w=200.0, is_own=True),
    }
    specs = {"card": a_spec(idle_w=None), **known}
    offers = [an_offer(gpu=gpu_id, gpu_id=gpu_id, gpu_counts=(8,)) for gpu_id in ("card", "stated")]
    on_cpu = some_statistics(power=(a_power(device="cpu", power_w=45.0),))
    laptop = GpuSpec(gpu_id="laptop", name="Laptop", tdp_w=100.0, memory_gib=8.0)
    at_home = some_statistics(home=laptop, power=(a_power(power_w=80.0, idle_power_w=60.0),))
    for statistics in (on_cpu, at_home):
        rows = compared(a_home(statistics=statistics), *offers, specs=specs).rows
        # Seven idle boards of 60 W each; what a laptop draws at rest says nothing of theirs.
        assert rows[0].estimate.energy_kwh == rows[1].estimate.energy_kwh
        assert rows[0].estimate.energy_kwh is not None
        watts = rows[0].estimate.energy_kwh.point * 3.6e6 / 1.2 / rows[0].estimate.time_s.point
        assert watts > 7 * 60.0


def test_several_gpus_cost_and_draw_several_times_as_much_an_hour() -> None:
    one, eight = (
        compared(a_home(), an_offer(gpu_counts=(1, 8)), rental=Rental(used_gpu_count=count)).rows[0] for count in (1, 8)
    )
    assert (eight.used_gpu_count, eight.rented_gpu_count) == (8, 8)
    for get in (lambda row: row.estimate.cost_usd, lambda row: row.estimate.energy_kwh):
        assert get(eight).point == pytest.approx(8.0 * get(one).point)


def test_an_offer_sold_in_larger_instances_says_so() -> None:
    assert "sold-in-instances" in codes(compared(a_home(), an_offer(gpu_counts=(8,))).rows[0])
    assert "sold-in-instances" not in codes(compared(a_home(), an_offer(gpu_counts=(1, 2))).rows[0])


def test_an_old_price_says_so() -> None:
    assert "old-price" in codes(compared(a_home(), an_offer(), today="2027-05-01").rows[0])
    assert "old-price" not in codes(compared(a_home(), an_offer(), today="2026-11-24").rows[0])
    # 180 days after 2026-09-28 is 2027-03-27.
    for today, is_old in (("2027-03-27", False), ("2027-03-28", True)):
        assert ("old-price" in codes(compared(a_home(), an_offer(), today=today).rows[0])) is is_old
    assert "old-price" not in codes(compared(a_home(), an_offer()).rows[0])


def test_an_offer_without_a_ratio_is_left_out_and_named() -> None:
    comparison = compared(a_home(), an_offer(), ratios={})
    assert comparison.rows == ()
    assert [caveat.code for caveat in comparison.caveats] == ["offer-left-out"]


def test_two_runs_of_one_workload_give_a_measured_ratio() -> None:
    home = some_statistics(workload_fingerprint="x", fit=a_fit(epoch_s=90.0))
    other = some_statistics(workload_fingerprint="x", fit=a_fit(epoch_s=30.0), machine=a_machine(host="other"))
    ratio = measured_ratio(home, other)
    assert ratio is not None
    assert ratio.point == pytest.approx(3.0)
    assert 0.0 < ratio.log_half_width < 0.5
    assert measured_ratio(home, some_statistics(workload_fingerprint="y")) is None
    assert not is_same_workload(some_statistics(), some_statistics())


def test_net_of_idle_takes_off_what_the_machine_draws_anyway() -> None:
    statistics = some_statistics(power=(a_power(power_w=300.0, idle_power_w=60.0),))
    net = without_idle(statistics)
    assert net is not None
    gross_kwh, net_kwh = (estimate_training(each).energy_kwh for each in (statistics, net))
    assert gross_kwh is not None
    assert net_kwh is not None
    assert net_kwh.point == pytest.approx(0.8 * gross_kwh.point)
    assert without_idle(some_statistics()) is None


BERT = StepProfile(loader_s=0.0, fetch_s=0.0, host_s=0.0493, device_busy_s=0.0199, launch_count=1253)
WIDE_MLP = StepProfile(loader_s=0.0, fetch_s=0.0, host_s=0.00230, device_busy_s=0.00751, launch_count=58)
H200 = GpuSpec(gpu_id="h200", name="H200", tdp_w=700.0, idle_w=78.5, memory_gib=141.0)
B200 = GpuSpec(gpu_id="b200", name="B200", tdp_w=1000.0, idle_w=146.0, memory_gib=180.0)


def profiled(profile: StepProfile, *, power_w: float = 297.0, host_w: float | None = None, **over: Any) -> RunFacts:
    host = () if host_w is None else (a_power(device="cpu", power_w=host_w),)
    power = (a_power(power_w=power_w, log_half_width=0.1), *host)
    return some_statistics(**{"home": H200, "power": power, "profile": profile, **over})


def on_boards(statistics: RunFacts, *offers: Offer, ratio: SpeedRatio | None = None, **over: Any) -> Comparison:
    home = estimate_training(statistics)
    published = SpeedRatio(ratio=Interval.from_log_width(1.6, 0.3), basis="throughput")
    ratios = {"h200": SpeedRatio(ratio=Interval.exactly(1.0), basis="measured"), "b200": ratio or published}
    specs = {"h200": H200, "b200": B200}
    return compared(home, *offers, **{"ratios": ratios, "specs": specs, **over})


def an_h200(**over: Any) -> Offer:
    return an_offer(gpu="H200 HGX 141GB", gpu_id="h200", memory_gib=141.0, price_usd_per_hour=4.29, **over)


def a_b200(**over: Any) -> Offer:
    return an_offer(gpu="B200 HGX 180GB", gpu_id="b200", memory_gib=180.0, price_usd_per_hour=6.0, **over)


@pytest.mark.parametrize("profile", [None, BERT])
def test_unmetered_board_draws_as_an_offer_what_it_is_taken_to_draw_at_home(profile: StepProfile | None) -> None:
    at_home = model_power("gpu_0", Interval.exactly(H200.tdp_w or 0.0), ASSUMED_UTILIZATION)
    statistics = some_statistics(home=H200, power=(at_home,), profile=profile, pue=Interval.exactly(1.2))
    row = on_boards(statistics, an_h200()).rows[0]
    home = estimate_training(statistics)
    assert row.estimate.energy_kwh is not None
    assert home.energy_kwh is not None
    assert row.estimate.energy_kwh.point == pytest.approx(home.energy_kwh.point)


def test_bert_on_an_h200_is_hardly_faster_on_a_b200_and_bound_by_the_host() -> None:
    row = on_boards(profiled(BERT), a_b200()).rows[0]
    assert row.time_ratio is not None
    assert 0.95 <= row.time_ratio.point <= 1.05
    assert row.bound_by == "host"
    assert row.speed_ratio.ratio.point == 1.6


def test_wide_network_follows_the_published_ratio() -> None:
    bare = a_fit(one_off_s=0.0, first_epoch_s=9.0)
    row = on_boards(profiled(WIDE_MLP, fit=bare), a_b200()).rows[0]
    assert row.time_ratio is not None
    assert row.time_ratio.point == pytest.approx(1.6)
    assert row.bound_by == "device"


def test_ratio_that_was_given_is_that_of_the_whole_training() -> None:
    given = SpeedRatio(ratio=Interval.exactly(2.5), basis="given")
    row = on_boards(profiled(BERT), a_b200(), ratio=given).rows[0]
    assert row.time_ratio is not None
    assert row.time_ratio.point == pytest.approx(2.5, rel=1e-12)
    assert row.bound_by is None


def test_ratio_measured_in_own_runs_is_that_of_the_whole_step() -> None:
    measured = SpeedRatio(ratio=Interval.from_log_width(2.0, 0.1), basis="measured")
    bare = a_fit(one_off_s=0.0, first_epoch_s=9.0)
    row = on_boards(profiled(BERT, fit=bare), a_b200(), ratio=measured).rows[0]
    assert row.time_ratio is not None
    assert row.time_ratio.point == pytest.approx(2.0)


@pytest.mark.parametrize("profile", [BERT, WIDE_MLP, None], ids=["host", "device", "unknown"])
@pytest.mark.parametrize("host_w", [None, 61.3])
def test_home_against_itself_takes_and_draws_the_same(profile: StepProfile | None, host_w: float | None) -> None:
    statistics = profiled(profile, host_w=host_w, pue=Interval.exactly(1.2))  # type: ignore[arg-type]
    statistics = dataclasses.replace(statistics, grid=a_grid(intensity_g_per_kwh=Interval.exactly(30.0)))
    comparison = on_boards(statistics, an_h200())
    home, row = comparison.home, comparison.rows[0]
    assert row.estimate.time_s.point == home.time_s.point
    assert row.time_ratio is not None
    assert row.time_ratio.point == 1.0
    for there, here in ((row.estimate.energy_kwh, home.energy_kwh), (row.estimate.co2_g, home.co2_g)):
        assert there is not None
        assert here is not None
        assert there.point == pytest.approx(here.point, rel=1e-13)


def test_what_no_board_makes_faster_stays_in_the_time() -> None:
    statistics = profiled(WIDE_MLP, fit=a_fit(one_off_s=100.0, first_epoch_s=9.0, overhead_s=1.0))
    statistics = dataclasses.replace(statistics, workload=a_workload(one_off_s=50.0, extra_per_epoch_s=2.0))
    row = on_boards(statistics, a_b200()).rows[0]
    assert row.estimate.time_s.point == pytest.approx(20 * 8.0 / 1.6 + 20 * 1.0 + 100.0 + 50.0 + 20 * 2.0)


def test_validation_follows_its_own_profile() -> None:
    workload = a_workload(validation_s=5.0)
    fit = a_fit(one_off_s=0.0, first_epoch_s=9.0)
    alike = profiled(WIDE_MLP, fit=fit, workload=workload)
    slow = dataclasses.replace(alike, validation_profile=StepProfile(loader_s=0.05, host_s=0.001, device_busy_s=0.002))
    assert on_boards(alike, a_b200()).rows[0].estimate.time_s.point == pytest.approx(20 * 14.0 / 1.6)
    assert on_boards(slow, a_b200()).rows[0].estimate.time_s.point == pytest.approx(20 * (9.0 / 1.6 + 5.0))


def test_run_of_the_first_schema_follows_the_ratio_with_all_of_its_time() -> None:
    old = dataclasses.replace(profiled(BERT), schema_version="1")
    comparison = on_boards(old, a_b200())
    assert comparison.rows[0].time_ratio is not None
    assert comparison.rows[0].time_ratio.point == pytest.approx(1.6)
    assert "whole-time-scaled" in {caveat.code for caveat in comparison.caveats}
    assert "whole-time-scaled" not in {caveat.code for caveat in on_boards(profiled(BERT), a_b200()).caveats}


def test_gpu_sold_in_eights_costs_eight_of_them() -> None:
    row = on_boards(profiled(BERT), an_h200(gpu_counts=(8,))).rows[0]
    assert (row.used_gpu_count, row.rented_gpu_count) == (1, 8)
    assert row.estimate.cost_usd is not None
    assert row.estimate.cost_usd.point == pytest.approx(8 * 4.29 * row.estimate.time_s.point / 3600.0)
    assert row.price_usd_per_hour == pytest.approx(8 * 4.29)
    assert "sold-in-instances" in codes(row)


def test_boards_that_are_rented_and_not_used_draw_their_idle_power() -> None:
    one, eight = (on_boards(profiled(BERT), an_h200(gpu_counts=(n,))).rows[0].estimate for n in (1, 8))
    assert one.energy_kwh is not None
    assert eight.energy_kwh is not None
    assert eight.energy_kwh.point / one.energy_kwh.point == pytest.approx((297.0 + 7 * 78.5) / 297.0)


def test_start_of_the_instance_is_paid_and_delays_the_end() -> None:
    rental = Rental(start_s=Interval(point=61.0, low=42.0, high=302.0, level=0.8))
    statistics = profiled(BERT)
    row, bare = (on_boards(statistics, an_h200(), **over).rows[0] for over in ({"rental": rental}, {}))
    assert row.estimate.time_s == bare.estimate.time_s
    assert row.estimate.cost_usd is not None
    assert bare.estimate.cost_usd is not None
    assert row.estimate.cost_usd.point == pytest.approx(bare.estimate.cost_usd.point + 4.29 * 61.0 / 3600.0)
    assert bare.p_faster == pytest.approx(0.5)
    assert row.p_faster is not None
    assert row.p_faster < 0.2


def test_training_that_is_over_before_an_instance_starts_has_no_winner() -> None:
    rental = Rental(start_s=Interval.exactly(200.0))
    comparison = on_boards(profiled(BERT), an_h200(), rental=rental)
    assert comparison.is_too_small_to_rent
    assert best_value(comparison) is None
    assert fastest(comparison) is None
    assert saving(comparison) is None
    assert not on_boards(profiled(BERT), an_h200(), rental=Rental(start_s=Interval.exactly(100.0))).is_too_small_to_rent


def test_offer_without_an_instance_of_that_size_is_left_out_and_named() -> None:
    comparison = on_boards(profiled(BERT), an_h200(gpu_counts=(4,)), rental=Rental(used_gpu_count=8))
    assert comparison.rows == ()
    assert [caveat.code for caveat in comparison.caveats] == ["no-such-instance"]


def test_busier_board_draws_more_of_what_lies_between_idle_and_tdp() -> None:
    half = StepProfile(loader_s=0.0, host_s=0.04, device_busy_s=0.02)
    row = on_boards(profiled(half, power_w=278.5, fit=a_fit(one_off_s=0.0, first_epoch_s=9.0)), a_b200()).rows[0]
    # 200 W above idle at home with the board busy half of the time; on the offer it is busy 0.5 / 1.6 of the time.
    share = 200.0 / (700.0 - 78.5) / 1.6
    expected_w = 146.0 + share * (1000.0 - 146.0)
    assert row.estimate.energy_kwh is not None
    assert row.estimate.energy_kwh.point == pytest.approx(row.estimate.time_s.point * expected_w * 1.2 / 3.6e6)


def test_chances_are_those_of_a_simulation_of_the_longer_part() -> None:
    profile = StepProfile(loader_s=0.0, host_s=0.0284, device_busy_s=0.0266)
    fit = a_fit(one_off_s=0.0, first_epoch_s=9.0)
    statistics = profiled(profile, fit=fit, home_usd_per_hour=5.0)
    ratio = SpeedRatio(ratio=Interval.from_log_width(1.2, 0.4), basis="spec")
    row = on_boards(statistics, a_b200(), ratio=ratio).rows[0]
    draws = np.random.default_rng(5)
    host = np.exp(draws.normal(0.0, 0.3, 400_000))
    board = 0.0266 / 0.0284 / np.exp(draws.normal(np.log(1.2), 0.4 / 1.96, 400_000))
    share = np.maximum(host, board)
    assert row.p_faster == pytest.approx(np.mean(share < 1.0), abs=0.004)
    assert row.p_cheaper == pytest.approx(np.mean(6.0 * share < 5.0), abs=0.004)


def test_rented_home_costs_its_rent() -> None:
    home = estimate_training(profiled(BERT, home_usd_per_hour=3.0))
    assert home.cost_usd is not None
    assert home.cost_usd.point == pytest.approx(3.0 * home.time_s.point / 3600.0)


def test_neighbours_at_home_are_left_at_home() -> None:
    ratio = SpeedRatio(ratio=Interval.from_log_width(4.0, 0.3), basis="spec")
    by_host = StepProfile(loader_s=0.0, fetch_s=0.0, host_s=0.050, device_busy_s=0.020)
    parts = a_fit().parts(a_workload())
    for share in (0.0, 0.25):
        statistics = some_statistics(fit=a_fit(contention_share=share), profile=by_host)
        row = compared(a_home(statistics=statistics), an_offer(), ratio=ratio).rows[0]
        assert row.time_ratio is not None
        # Of the whole training only the steps are known to be quicker without neighbours.
        expected = (parts.fixed_s + (parts.total_s - parts.fixed_s) * (1.0 - share)) / parts.total_s
        assert 1.0 / row.time_ratio.point == pytest.approx(expected)


def test_home_against_itself_is_as_fast_as_it_is_alone() -> None:
    own = SpeedRatio(ratio=Interval.exactly(1.0), basis="measured")
    for share in (0.0, 0.25):
        statistics = some_statistics(
            fit=a_fit(contention_share=share, one_off_s=0.0, overhead_s=0.0, first_epoch_s=10.0, epoch_s=10.0),
            home=a_spec(),
            machine=a_machine(device="cuda:0"),
            profile=StepProfile(loader_s=0.0, fetch_s=0.0, host_s=0.010, device_busy_s=0.020),
        )
        row = compared(a_home(statistics=statistics), an_offer(), ratio=own).rows[0]
        assert row.time_ratio is not None
        assert row.time_ratio.point == 1.0
