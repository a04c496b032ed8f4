"""Whole comparisons, logs and outcomes for the pictures, the page and the terminal."""

from __future__ import annotations

import math
from typing import Any

import greenlove_mlflow as greenlove
from greenlove_mlflow.core.account.estimate import Estimate, estimate_training
from greenlove_mlflow.core.account.outcome import Outcome
from greenlove_mlflow.core.account.run_facts import RunFacts
from greenlove_mlflow.core.interval import Interval, product, quotient
from greenlove_mlflow.core.offers.compare import Comparison, ComparisonRow
from greenlove_mlflow.core.offers.offer import Offer, PriceSheet
from greenlove_mlflow.core.provenance import Caveat, Source
from greenlove_mlflow.core.records import BenchmarkLog, BlockRecord, PowerSample
from greenlove_mlflow.core.speed.gpu_names import find_gpu
from greenlove_mlflow.core.speed.gpus import SpeedRatio
from greenlove_mlflow.pipeline.comparing import replace_ratios
from greenlove_mlflow.tables import read_gpu_specs
from tests.support.factories import a_fit, a_grid, a_log, a_machine, a_power, a_workload, an_epoch, some_statistics

A_SOURCE = Source(
    producer="Crusoe",
    title="Cloud pricing",
    url="https://example.org/pricing",
    licence="quoted figures",
    published="2026-09-28",
    accessed="2026-10-01",
    table="crusoe_prices",
    version="2026-09-28",
)
# gpu, gpu_id, GiB, dollars an hour, ratio, log half-width, basis, grid g/kWh, mean W
OFFERS = (
    ("H100 HGX 80GB", "h100-sxm", 80.0, 3.90, 9.0, 0.25, "throughput", 300.0, 560.0),
    ("A100 SXM 80GB", "a100-sxm-80", 80.0, 1.95, 5.2, 0.20, "throughput", 300.0, 320.0),
    ("A100 PCIe 40GB", "a100-pcie-40", 40.0, 1.45, 4.6, 0.20, "throughput", 410.0, 230.0),
    ("L40S 48GB", "l40s", 48.0, 1.00, 3.1, 0.35, "spec", 410.0, 280.0),
    ("A40 48GB", "a40", 48.0, 0.90, 2.0, 0.30, "throughput", None, 240.0),
    ("MI300X 192GB", "mi300x", 192.0, 3.45, 8.1, 0.60, "spec", 300.0, 640.0),
    ("B200 180GB", "b200", 180.0, None, 17.0, 0.50, "mlperf", 300.0, 850.0),
)


def an_estimate(**over: Any) -> Estimate:
    statistics = some_statistics(power=(a_power(power_w=150.0),), machine=a_machine(gpu_name="NVIDIA GeForce RTX 3060"))
    fields = {
        "time_s": Interval(point=18_610.0, low=17_420.0, high=20_090.0),
        "energy_kwh": Interval(point=2.1, low=1.9, high=2.4),
        "cost_usd": Interval(point=0.63, low=0.52, high=0.76),
        "co2_g": Interval(point=800.0, low=660.0, high=980.0),
        "workload": a_workload(sample_count=60_000, batch_size=64, steps_per_epoch=938, epoch_count=100),
        "grid": a_grid(),
        "caveats": (Caveat(code="warm-up-share", text="the first steps took 12% of the benchmark"),),
        "statistics": statistics,
    }
    return Estimate(**{**fields, **over})


def an_offer(**over: Any) -> Offer:
    fields = {
        "provider": "crusoe",
        "gpu": "H100 HGX 80GB",
        "gpu_id": "h100-sxm",
        "memory_gib": 80.0,
        "price_usd_per_hour": 3.90,
        "version": "2026-09-28",
        "as_of": "2026-09-28",
    }
    return Offer(**{**fields, **over})


def a_row(home: Estimate, spec: tuple[Any, ...] = OFFERS[0], **over: Any) -> ComparisonRow:
    gpu, gpu_id, memory, price, ratio, width, basis, intensity, power_w = spec
    speed = Interval.from_log_width(ratio, width)
    time_s = quotient(home.time_s, speed)
    energy = time_s.scaled(power_w / 3.6e6)
    co2 = None if intensity is None else product(energy, Interval.from_log_width(intensity, 0.2))
    cost = None if price is None else time_s.scaled(price / 3600.0)
    carbon = None if intensity is None else Interval.exactly(intensity)
    fields = {
        "offer": an_offer(
            gpu=gpu, gpu_id=gpu_id, memory_gib=memory, price_usd_per_hour=price,
            billing="on-demand" if price is not None else "contact-sales",
        ),
        "speed_ratio": SpeedRatio(ratio=speed, basis=basis, detail=f"by {basis}"),
        "estimate": Estimate(
            time_s=time_s, energy_kwh=energy, cost_usd=cost, co2_g=co2, workload=home.workload,
            grid=a_grid(place="Iceland", intensity_g_per_kwh=carbon),
        ),
        "co2_market_g": None,
        "fits_memory": True,
        "p_faster": _probability(math.log(ratio), math.hypot(width, home.time_s.log_half_width)),
        "p_cheaper": None
        if cost is None or home.cost_usd is None
        else _probability(
            math.log(home.cost_usd.point / cost.point), math.hypot(home.cost_usd.log_half_width, cost.log_half_width)
        ),
        "on_pareto_front": gpu.startswith(("H100", "L40S")),
    }  # fmt: skip
    return ComparisonRow(**{**fields, **over})


def a_sheet(**over: Any) -> PriceSheet:
    fields = {"version": "2026-09-28", "as_of": "2026-09-28", "offers": (), "source": A_SOURCE}
    return PriceSheet(**{**fields, **over})


def a_comparison(home: Estimate | None = None, specs: tuple[tuple[Any, ...], ...] = OFFERS, **over: Any) -> Comparison:
    home = home or an_estimate()
    fields = {"home": home, "rows": tuple(a_row(home, spec) for spec in specs), "prices": a_sheet()}
    return Comparison(**{**fields, **over})


def a_benchmark(**over: Any) -> BenchmarkLog:
    """A log with first contact, timed epochs in blocks, other sizes, and power."""
    plan = [("first-contact", 320, 5, 2.4), ("revisit", 320, 5, 0.95)]
    plan += [("timed", 2000, 32, 6.1 * factor) for factor in (1.0, 1.02, 0.99, 1.01)]
    plan += [("scaling", count, max(1, count // 64), count * 0.0031) for count in (500, 1000, 2000)]
    epochs, blocks, at_s = [], [], 0.0
    for index, (phase, samples, steps, duration_s) in enumerate(plan):
        epochs.append(
            an_epoch(epoch_index=index, phase=phase, sample_count=samples, step_count=steps, duration_s=duration_s,
                     whole=samples == 2000, start_s=at_s)
        )  # fmt: skip
        if phase == "timed":
            blocks += [
                BlockRecord(epoch_index=index, phase="timed", start_s=at_s + part * duration_s / 8, step_count=4,
                            duration_s=duration_s / 8 * (1.0 + 0.03 * math.sin(3.0 * part + index)))
                for part in range(8)
            ]  # fmt: skip
        at_s += duration_s + 0.1
    samples = [PowerSample(at_s=t / 10.0, device="gpu_0", power_w=150 + 8 * math.sin(t / 5.0)) for t in range(380)]
    fields = {
        "epochs": tuple(epochs),
        "blocks": tuple(blocks),
        "sample_count": 2000,
        "batch_size": 64,
        "steps_per_epoch": 32,
        "power": (a_power(power_w=150.0, log_half_width=0.05, window_s=24.0, energy_j=3600.0),),
        "power_samples": tuple(samples),
        "duration_s": 38.0,
        "started_at": "2026-11-24T10:00:00+00:00",
        "machine": a_machine(gpu_name="NVIDIA GeForce RTX 3060"),
    }
    return a_log(**{**fields, **over})


def a_benchmark_fit(**over: Any) -> Any:
    fields = {
        "sample_count": 2000, "steps_per_epoch": 32, "epoch_s": 6.13, "first_epoch_s": 6.2, "one_off_s": 1.6,
        "overhead_s": 0.05, "step_s": 0.19, "spearman_rho": 1.0, "affine_intercept_s": 0.03, "affine_slope_s": 0.00305,
    }  # fmt: skip
    return a_fit(**{**fields, **over})


def an_outcome(**over: Any) -> Outcome:
    widths = [0.07 * (1.0 - done / 100.0) + 0.002 for done in range(1, 101)]
    fields = {
        "epoch_durations_s": tuple(186.0 + index % 3 for index in range(100)),
        "time_s": 18_900.0,
        "completed": True,
        "energy_kwh": 2.15,
        "energy_source": "measured",
        "cost_usd": 0.65,
        "co2_g": 815.0,
        "forecasts_s": tuple(
            Interval.from_log_width(18_610.0 + 2.9 * done + 60.0 * math.sin(done / 6.0) * (1.0 - done / 100.0), width)
            for done, width in enumerate(widths, start=1)
        ),
    }
    return Outcome(**{**fields, **over})


def a_measured_training(**over: Any) -> tuple[Estimate, Comparison]:
    """An estimate and a comparison as the library makes them, by our own tables."""
    estimate = estimate_training(measured_statistics(**over))
    comparison = greenlove.compare(estimate)
    return replace_ratios(estimate, comparison), comparison


def measured_statistics(**over: Any) -> RunFacts:
    home = find_gpu("NVIDIA GeForce RTX 3090", read_gpu_specs())
    power = (a_power(power_w=290.0, log_half_width=0.12), a_power(device="cpu", power_w=40.0, log_half_width=0.5))
    fields = {"home": home, "fit": a_benchmark_fit(), "power": power, "pue": Interval(point=1.1, low=1.0, high=1.3)}
    return some_statistics(**{**fields, **over})


def _probability(log_distance: float, log_half_width: float) -> float:
    """Normal probability that a log difference is above 0."""
    return 0.5 * (1.0 + math.erf(log_distance / (log_half_width / 1.96) / math.sqrt(2.0)))
