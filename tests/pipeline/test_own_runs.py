"""Ratios from one's own runs, looked for in a real store."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from mlflow import MlflowClient

from greenlove_mlflow.core.account.run_facts import RunFacts
from greenlove_mlflow.errors import InvalidInputError
from greenlove_mlflow.pipeline.own_runs import own_ratios
from greenlove_mlflow.tracking import names
from tests.support.factories import a_fit, a_machine, some_statistics

H100 = "nvidia-h100-sxm5-80gb"


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
