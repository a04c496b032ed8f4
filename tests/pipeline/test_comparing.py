"""``greenlove.compare`` with the package's own tables and ratios from one's own runs: what is rented and counted."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

import greenlove_mlflow as greenlove
from greenlove_mlflow.core.account.estimate import estimate_training
from greenlove_mlflow.core.account.run_facts import RunFacts
from greenlove_mlflow.core.offers.compare import Comparison, ComparisonRow
from greenlove_mlflow.core.records import StepProfile
from greenlove_mlflow.errors import InvalidInputError, UnknownPlaceError
from greenlove_mlflow.pipeline.comparing import instance_start_s
from greenlove_mlflow.pipeline.measured_ratios import own_ratios
from greenlove_mlflow.tables import find_grid, read_regions
from greenlove_mlflow.tracking import names
from greenlove_mlflow.words.summary import summary
from tests.support.factories import a_fit, a_machine, a_power, some_statistics
from tests.support.report import measured_statistics

BOUND_BY_THE_BOARD = StepProfile(loader_s=0.0, host_s=0.0023, device_busy_s=0.0751)
# The digits' small network on two cores of a small EPYC machine, its kernels counted.
SMALL_CNN = StepProfile(
    loader_s=0.0, host_s=0.0046, launch_count=44, flop_count=2e8, moved_bytes=1e7, dispatch_s=4.4e-6, on_cpu=True
)
H100 = "nvidia-h100-sxm5-80gb"


def compared(profile: StepProfile | None = BOUND_BY_THE_BOARD, *, options: Any = None, **over: Any) -> Comparison:
    return greenlove.compare(estimate_training(measured_statistics(profile=profile, **over)), **(options or {}))


def row_of(comparison: Comparison, gpu: str) -> ComparisonRow:
    return next(row for row in comparison.rows if row.offer.gpu == gpu)


def test_h200_is_rented_in_eights_and_says_what_all_eight_would_take() -> None:
    row = row_of(compared(), "H200 HGX 141GB")
    assert (row.used_gpu_count, row.rented_gpu_count) == (1, 8)
    assert row.offer.price_usd_per_hour is not None
    assert row.estimate.cost_usd is not None
    hours = (row.estimate.time_s.point + 61.0) / 3600.0
    assert row.estimate.cost_usd.point == pytest.approx(8 * row.offer.price_usd_per_hour * hours)
    assert row.all_at_work_time_s is not None
    assert 2.0 < row.estimate.time_s.point / row.all_at_work_time_s.point < 8.0
    assert "all-at-work" in {caveat.code for caveat in row.estimate.caveats}


def test_all_eight_are_at_work_when_asked_for() -> None:
    one, eight = (row_of(compared(options={"gpus": gpus}), "H200 HGX 141GB") for gpus in (None, 8))
    assert (eight.used_gpu_count, eight.rented_gpu_count) == (8, 8)
    assert eight.all_at_work_time_s is None
    assert one.all_at_work_time_s is not None
    assert eight.estimate.time_s.point == one.all_at_work_time_s.point


@pytest.mark.parametrize(("gpu", "rented"), [("H200 HGX 141GB", 8), ("A100 PCIe 80GB", 4)])
def test_three_gpus_work_in_the_smallest_instance_that_has_them(gpu: str, rented: int) -> None:
    two, three, four = (row_of(compared(options={"gpus": gpus}), gpu) for gpus in (2, 3, 4))
    assert (three.used_gpu_count, three.rented_gpu_count) == (3, rented)
    caveat = next(each for each in three.estimate.caveats if each.code == "sold-in-instances")
    assert {"rented": rented, "idle": rented - 3}.items() <= dict(caveat.values).items()
    assert two.estimate.time_s.point > three.estimate.time_s.point > four.estimate.time_s.point


@pytest.mark.parametrize("count", [9, 16, 1_000_000_000])
def test_more_gpus_than_anybody_has_measured_are_refused_at_entry(count: int) -> None:
    with pytest.raises(InvalidInputError, match=rf"gpus must be from 1 to 8, .*got {count}$"):
        compared(options={"gpus": count})
    with pytest.raises(InvalidInputError, match="gpus must be from 1 to 8"):
        greenlove.estimate(None, None, None, None, epochs=1, gpus=count)


def test_offer_sold_singly_is_rented_singly() -> None:
    row = row_of(compared(), "L40S 48GB")
    assert (row.used_gpu_count, row.rented_gpu_count) == (1, 1)
    assert row.all_at_work_time_s is None


def test_start_of_an_instance_can_be_stated() -> None:
    assert compared(options={"start_s": 300.0}).start_s == greenlove.Interval.exactly(300.0)


@pytest.mark.parametrize("start_s", [-5.0, float("nan"), "60", True])
def test_a_start_that_is_no_number_of_seconds_is_refused_by_name(start_s: Any) -> None:
    with pytest.raises(InvalidInputError, match="start_s must be"):
        instance_start_s(start_s)


def test_work_counted_on_a_cpu_needs_no_probe_and_is_held_by_its_launches() -> None:
    comparison = compared(
        SMALL_CNN, home=None, machine=a_machine(), power=(a_power(device="cpu", power_w=40.0, log_half_width=0.5),)
    )
    codes = {caveat.code for caveat in comparison.caveats}
    assert "counted-work" in codes
    assert "probed-hardware" not in codes
    row = row_of(comparison, "H200 HGX 141GB")
    assert row.bound_by == "host"
    assert row.time_ratio is not None
    # The H200 took 2.12 ms a step: 2.2 times faster, not 500.
    assert row.time_ratio.low < 4.6 / 2.12 < row.time_ratio.high


def test_training_of_seconds_is_too_small_to_rent() -> None:
    brief = measured_statistics(profile=BOUND_BY_THE_BOARD)
    workload = greenlove.Workload(sample_count=2000, batch_size=64, epoch_count=1, steps_per_epoch=32)
    comparison = greenlove.compare(estimate_training(brief, workload=workload))
    assert comparison.is_too_small_to_rent


def test_other_clouds_are_compared_by_the_grid_of_their_regions() -> None:
    comparison = compared(options={"prices": "cloud_prices"})
    row = next(row for row in comparison.rows if (row.offer.provider, row.offer.gpu) == ("AWS", "H200"))
    virginia = find_grid(environment_place="US-VA")[0].intensity_g_per_kwh
    assert row.offer.regions == ("us-east-1",)
    assert row.estimate.grid.place == "us-east-1"
    assert virginia is not None
    assert row.estimate.grid.intensity_g_per_kwh is not None
    assert row.estimate.grid.intensity_g_per_kwh.point == pytest.approx(virginia.point)


def test_a_region_of_two_clouds_is_refused_before_anything_is_compared(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    head = "gpu,price_usd_per_hour,as_of,provider,regions"
    path.write_text(f"{head}\nH100 HGX 80GB,2.0,2026-10-01,,us-west-2\n")
    with pytest.raises(UnknownPlaceError, match="'AWS us-west-2' or 'Lambda us-west-2'"):
        compared(options={"prices": path})
    with pytest.raises(UnknownPlaceError, match="'AWS us-west-2' or 'Lambda us-west-2'"):
        compared(options={"region": "us-west-2"})
    places = {("AWS", "us-west-2"): "US-OR", ("Lambda", "us-west-2"): "US-AZ", ("", "AWS us-west-2"): "US-OR"}
    for (provider, region), place in places.items():
        path.write_text(f"{head}\nH100 HGX 80GB,2.0,2026-10-01,{provider},{region}\n")
        intensity = compared(options={"prices": path}).rows[0].estimate.grid.intensity_g_per_kwh
        expected = find_grid(environment_place=place)[0].intensity_g_per_kwh
        assert intensity is not None
        assert expected is not None
        assert intensity.point == pytest.approx(expected.point)


def test_options_of_several_clouds_name_their_clouds() -> None:
    comparison = compared(options={"prices": "cloud_prices"})
    text = summary(comparison.home, comparison)
    assert "RunPod" in text
    assert "DataCrunch" in text


def test_offer_without_a_region_has_the_median_grid_of_its_provider() -> None:
    comparison = compared(options={"prices": "cloud_prices"})
    row = next(row for row in comparison.rows if row.offer.provider == "CoreWeave")
    own = sorted(
        region.intensity_g_per_kwh
        for region in read_regions()
        if region.provider == "CoreWeave" and region.intensity_g_per_kwh is not None
    )
    assert len(own) == 13
    assert row.offer.regions == ()
    assert row.estimate.grid.intensity_g_per_kwh is not None
    assert row.estimate.grid.intensity_g_per_kwh.point == own[6]
    assert row.estimate.co2_g is not None
    assert "region-of-provider" in {caveat.code for caveat in row.estimate.caveats}


def test_no_option_of_any_cloud_is_without_co2() -> None:
    rows = compared(options={"prices": "cloud_prices"}).rows
    assert {"Lambda", "DataCrunch", "Hyperstack", "Nebius"} <= {row.offer.provider for row in rows}
    assert [row.offer.provider for row in rows if row.estimate.co2_g is None] == []


def test_price_older_than_the_limit_is_said_at_its_own_row() -> None:
    comparison = compared(options={"prices": "cloud_prices"})
    for row in comparison.rows:
        if row.offer.as_of == "2025-12-31":
            assert "old-price" in {caveat.code for caveat in row.estimate.caveats}, row.offer


def on_gpu(gpu_id: str | None, epoch_s: float, **over: Any) -> RunFacts:
    return some_statistics(
        machine=a_machine(device="cuda:0", gpu_name=gpu_id, gpu_id=gpu_id),
        fit=dataclasses.replace(a_fit(), epoch_s=epoch_s),
        **{"workload_fingerprint": "same", **over},
    )


def keep(store: str, statistics: RunFacts) -> str:
    tags = {
        names.TAG_SCHEMA_VERSION: "1",
        names.TAG_STATS: statistics.to_json(),
        names.TAG_WORKLOAD: statistics.workload_fingerprint,
    }
    return MlflowClient(store).create_run("0", tags=tags).info.run_id


def test_auto_takes_the_same_workload_on_another_gpu_and_no_other(store: str) -> None:
    home = on_gpu("nvidia-a100-sxm4-80gb", 20.0)
    run_id = keep(store, on_gpu(H100, 10.0))
    keep(store, on_gpu("nvidia-l40s", 5.0, workload_fingerprint="another"))
    keep(store, on_gpu(None, 1.0))
    keep(store, home)
    found = own_ratios(home, "auto")
    assert set(found) == {H100}
    ratio, source = found[H100]
    assert ratio.point == pytest.approx(2.0)
    assert ratio.low < 2.0 < ratio.high
    assert source == run_id


def test_a_named_run_of_another_workload_is_refused(store: str) -> None:
    run_id = keep(store, on_gpu(H100, 10.0, workload_fingerprint="another"))
    with pytest.raises(InvalidInputError, match="same model structure"):
        own_ratios(on_gpu("nvidia-a100-sxm4-80gb", 20.0), run_id)


def test_nothing_is_looked_for_unless_asked(store: str) -> None:
    keep(store, on_gpu(H100, 10.0))
    assert own_ratios(on_gpu("nvidia-a100-sxm4-80gb", 20.0), None) == {}
