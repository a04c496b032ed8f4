from __future__ import annotations

import json

import pytest

from greenlove_mlflow.core.account.run_facts import OfferRatio, Statistics
from greenlove_mlflow.core.codec import from_plain, to_plain
from greenlove_mlflow.core.interval import Interval
from greenlove_mlflow.core.speed.gpus import SpeedRatio
from greenlove_mlflow.errors import RunDataError
from tests.support.factories import a_power, some_statistics


def some_rich_statistics() -> Statistics:
    ratio = SpeedRatio(ratio=Interval(point=1.0 / 3.0, low=0.1, high=2.0 / 3.0), basis="throughput")
    return some_statistics(
        ratios=(OfferRatio(gpu_id="nvidia-h100-sxm-80gb", speed_ratio=ratio),),
        power=(a_power(), a_power(device="cpu", source="modelled", power_w=0.1 + 0.2)),
    )


def test_statistics_come_back_bit_for_bit() -> None:
    statistics = some_rich_statistics()
    assert Statistics.from_json(statistics.to_json()) == statistics


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
        Statistics.from_json(json.dumps(content))


@pytest.mark.parametrize("text", ["", "5", "[]", "null", "{", '"x"'])
def test_a_text_that_is_no_object_is_an_error_of_ours(text: str) -> None:
    with pytest.raises(RunDataError):
        Statistics.from_json(text)


def test_another_schema_version_is_named() -> None:
    content = {**json.loads(some_rich_statistics().to_json()), "schema_version": "9"}
    with pytest.raises(RunDataError, match="'9'"):
        Statistics.from_json(json.dumps(content))
