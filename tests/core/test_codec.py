"""Records to plain JSON values and back, and the bounds of numbers from outside."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass

import pytest

from greenlove_mlflow.core.account.run_facts import OfferRatio, RunFacts
from greenlove_mlflow.core.codec import bounds_of, check_bounds, from_plain, to_plain
from greenlove_mlflow.core.interval import Interval
from greenlove_mlflow.core.provenance import Caveat, Source
from greenlove_mlflow.core.records import PowerReading, StepProfile
from greenlove_mlflow.core.speed.gpus import GpuSpec, SpeedRatio
from greenlove_mlflow.errors import InvalidInputError, RunDataError
from tests.support.factories import a_fit, a_grid, a_machine, a_power, some_statistics


def some_rich_statistics() -> RunFacts:
    ratio = SpeedRatio(ratio=Interval(point=1.0 / 3.0, low=0.1, high=2.0 / 3.0), basis="throughput")
    return some_statistics(
        ratios=(OfferRatio(gpu_id="nvidia-h100-sxm-80gb", speed_ratio=ratio, rented_gpu_count=8),),
        power=(a_power(), a_power(device="cpu", source="modelled", power_w=0.1 + 0.2)),
    )


def test_statistics_come_back_bit_for_bit_but_for_the_logarithm_of_ratios() -> None:
    statistics = some_rich_statistics()
    back = RunFacts.from_json(statistics.to_json())
    assert dataclasses.replace(back, ratios=()) == dataclasses.replace(statistics, ratios=())
    (kept,), (ratio,) = back.ratios, statistics.ratios
    assert (kept.gpu_id, kept.speed_ratio.basis, kept.rented_gpu_count) == (ratio.gpu_id, "throughput", 8)
    assert kept.speed_ratio.ratio.point == pytest.approx(1.0 / 3.0, rel=1e-14)
    assert kept.speed_ratio.ratio.log_half_width == pytest.approx(ratio.speed_ratio.ratio.log_half_width, rel=1e-14)


def test_statistics_of_the_first_schema_are_read_as_they_were_written() -> None:
    statistics = dataclasses.replace(some_rich_statistics(), schema_version="1")
    content = json.loads(statistics.to_json())
    assert content.pop("schema_version") == "1"
    # The first schema left its own version out.
    assert RunFacts.from_json(json.dumps(content)) == statistics
    assert RunFacts.from_json(statistics.to_json()).scaled_profile is None


def test_caveats_are_kept_as_code_and_values_and_say_the_same_afterwards() -> None:
    caveats = (
        Caveat.of("larger-batch", count=8),
        Caveat.of("offer-host-left-out"),
        Caveat(code="of-the-future", text="something new"),
    )
    statistics = some_statistics(caveats=caveats)
    text = statistics.to_json()
    assert caveats[0].message not in text
    assert RunFacts.from_json(text).caveats == caveats


def test_eight_boards_and_twelve_offers_fit_into_a_tag_with_room() -> None:
    boards = tuple(
        PowerReading(
            device=f"gpu_{n}", power_w=431.1 + n / 7, log_half_width=0.098 + n / 1e3, source="counter",
            window_s=5.01 + n / 7, energy_j=2161.0 + n / 3, sampled_power_w=430.9 + n / 9, idle_power_w=71.2 + n / 11,
            note="board counter",
        )
        for n in range(8)
    )  # fmt: skip
    host = tuple(
        a_power(device=device, power_w=81.0 / 7, source="modelled", note="x" * 60) for device in ("cpu", "ram")
    )
    source = Source(producer="Ember", title="Yearly electricity data", url="u" * 60, licence="CC BY 4.0", table="t")
    ratio = SpeedRatio(ratio=Interval(point=1.0 / 3.0, low=0.1, high=2.0 / 3.0), basis="throughput", detail="d" * 200)
    profile = StepProfile(
        loader_s=0.1 / 7, fetch_s=0.1 / 9, host_s=0.49 / 11, device_busy_s=0.2 / 13, launch_count=1253.0,
        flop_count=4.2e12 / 7, moved_bytes=2e10 / 7, sync_count=2.0,
    )  # fmt: skip
    statistics = some_statistics(
        machine=a_machine(
            gpu_name="NVIDIA H100 80GB HBM3", gpu_uuid="GPU-" + "1" * 36, cpu_name="Intel(R) " + "x" * 30
        ),
        fit=a_fit(
            noise_log_sd=0.1 / 7, epoch_s=9.0 / 7, spearman_rho=0.98, caveats=(Caveat.of("larger-batch", count=8),)
        ),
        power=(*boards, *host),
        grid=a_grid(intensity_source=source, price_source=source),
        home=GpuSpec(gpu_id="nvidia-h100-sxm5-80gb", name="NVIDIA H100 SXM5 80GB", aliases=("a" * 200,), tdp_w=700.0),
        ratios=tuple(
            OfferRatio(gpu_id=f"nvidia-h100-sxm5-80gb-{n}", speed_ratio=ratio, rented_gpu_count=8) for n in range(12)
        ),
        profile=profile,
        validation_profile=profile,
        caveats=tuple(Caveat.of("offer-host-carried", host_w=61.3 + n) for n in range(6)),
    )
    text = statistics.to_json()
    assert len(text) < 6000
    assert RunFacts.from_json(text).power == statistics.power


def test_defaults_take_no_room() -> None:
    assert "validation_s" not in some_rich_statistics().to_json()


def test_a_pair_stays_a_pair() -> None:
    kind = tuple[tuple[str, float], ...]
    assert from_plain(kind, to_plain((("load", 1.0), ("clock", 2.0)))) == (("load", 1.0), ("clock", 2.0))


@pytest.mark.parametrize(
    "change",
    [
        {"fit": 5},
        {"fit": {"method": "adaptive"}},
        {"power": 5},
        {"power": [5]},
        {"workload": {"sample_count": 0, "batch_size": 1, "epoch_count": 1, "steps_per_epoch": 1}},
        {"pue": {"point": 1.0, "low": 2.0, "high": 3.0}},
        {"pue": {"point": "one", "low": 2.0, "high": 3.0}},
        {"no_such_field": 1},
    ],
    ids=str,
)
def test_broken_statistics_are_an_error_of_ours(change: dict[str, object]) -> None:
    content = {**json.loads(some_rich_statistics().to_json()), **change}
    with pytest.raises(RunDataError, match="broken"):
        RunFacts.from_json(json.dumps(content))


@pytest.mark.parametrize("text", ["", "5", "[]", "null", "{", '"x"'])
def test_a_text_that_is_no_object_is_an_error_of_ours(text: str) -> None:
    with pytest.raises(RunDataError):
        RunFacts.from_json(text)


def test_another_schema_version_is_named() -> None:
    content = {**json.loads(some_rich_statistics().to_json()), "schema_version": "9"}
    with pytest.raises(RunDataError, match="'9'"):
        RunFacts.from_json(json.dumps(content))


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    power_w: float = 100.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Whole:
    duration_s: float = 1.0
    item_count: int = 3
    pue: Interval = Interval.exactly(1.2)  # noqa: RUF009 - it is frozen
    parts: tuple[Part, ...] = (Part(),)
    maybe_s: float | None = None
    is_on: bool = True
    name: str = "x"
    other: float = -5.0


def refusal(over: dict[str, object]) -> str:
    """The words in which these facts are refused; empty when they are not."""
    try:
        check_bounds(Whole(**over))  # type: ignore[arg-type]
    except InvalidInputError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("over", [{}, {"duration_s": 0.0}, {"pue": Interval.exactly(1.0)}, {"parts": ()}])
def test_facts_that_can_be_pass(over: dict[str, object]) -> None:
    assert refusal(over) == ""


@pytest.mark.parametrize(
    ("over", "name"),
    [
        ({"duration_s": float("nan")}, "duration_s"),
        ({"duration_s": float("inf")}, "duration_s"),
        ({"duration_s": -1.0}, "duration_s"),
        ({"item_count": 10**400}, "item_count"),
        ({"pue": Interval(point=0.5, low=0.4, high=0.6)}, "pue"),
        ({"pue": Interval(point=1.2, low=1.1, high=1e300)}, "pue"),
        ({"parts": (Part(), Part(power_w=1e9))}, "power_w"),
        ({"maybe_s": 1e300}, "maybe_s"),
        ({"other": 1e300}, "other"),
    ],
)
def test_a_figure_that_cannot_be_is_named(over: dict[str, object], name: str) -> None:
    assert refusal(over).startswith(f"{name} cannot be")


def test_a_whole_name_counts_before_its_end() -> None:
    assert bounds_of("epoch_s")[0] > 0.0
    assert bounds_of("extra_per_epoch_s")[0] == 0.0
    assert bounds_of("affine_intercept_s")[0] < 0.0
