"""The model without MLflow's doors: what it answers, and that it is what the comparison says."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from functools import cache
from typing import Any

import pandas as pd
import pytest

from greenlove_mlflow.core.account.estimate import Change, Estimate, estimate_changed
from greenlove_mlflow.core.account.run_facts import OfferRatio, RunFacts
from greenlove_mlflow.core.interval import Interval
from greenlove_mlflow.core.offers.compare import Comparison
from greenlove_mlflow.core.records import StepProfile
from greenlove_mlflow.core.speed.gpus import SpeedRatio
from greenlove_mlflow.errors import InvalidInputError, RunDataError
from greenlove_mlflow.serving.columns import LOCAL_FIGURES, OUTPUTS, make_signature
from greenlove_mlflow.serving.facts import ModelFacts
from greenlove_mlflow.serving.logging_model import gather_facts, light_modules
from greenlove_mlflow.serving.predict import Estimator
from tests.support.factories import a_grid, a_power, a_workload
from tests.support.reestimation import OWN_VERSION, compare_as_track_does, gpu_statistics

EXACTLY = pytest.approx


def own_prices(comparison: Comparison) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "gpu": [row.offer.gpu for row in comparison.rows],
            "price_usd_per_hour": [row.offer.price_usd_per_hour for row in comparison.rows],
            "version": comparison.prices.version,
        }
    )


@cache
def facts_text(statistics: RunFacts | None) -> str:
    return gather_facts(statistics).to_json()


def predict(statistics: RunFacts | None, frame: pd.DataFrame, **params: Any) -> pd.DataFrame:
    return Estimator(ModelFacts.from_json(facts_text(statistics))).estimate(frame, params)


def prices(**over: Any) -> pd.DataFrame:
    return pd.DataFrame({"gpu": ["H100 HGX 80GB"], "price_usd_per_hour": [4.0], **over})


def figures_of(estimate: Estimate) -> dict[str, float | None]:
    scaled = {
        "time_h": estimate.time_s.scaled(1.0 / 3600.0),
        "cost_usd": estimate.cost_usd,
        "energy_kwh": estimate.energy_kwh,
        "co2_kg": None if estimate.co2_g is None else estimate.co2_g.scaled(1e-3),
    }
    return {
        f"{name}{end}": None if value is None else getattr(value, attribute)
        for name, value in scaled.items()
        for end, attribute in (("", "point"), ("_lo", "low"), ("_hi", "high"))
    }


HOST_BOUND = StepProfile(loader_s=0.01, fetch_s=0.002, host_s=0.0493, device_busy_s=0.0399, launch_count=1253)
ON_A_CPU = StepProfile(
    loader_s=0.0, host_s=0.19, launch_count=475, flop_count=1e11, moved_bytes=3e9, dispatch_s=4e-6, on_cpu=True
)


@pytest.mark.parametrize(
    "over",
    [
        {},
        {"cloud_region": "us-east1-a"},
        {"grid": a_grid(scope="direct")},
        {"power": (), "peak_memory_gib": None},
        {"grid": a_grid(intensity_g_per_kwh=None, price_usd_per_kwh=None)},
        {"gpu_count": 8},
        {"profile": HOST_BOUND, "validation_profile": HOST_BOUND, "workload": a_workload(validation_s=2.0)},
        {"profile": HOST_BOUND, "schema_version": "1"},
        {"profile": ON_A_CPU, "home": None, "power": (a_power(device="cpu", power_w=61.3, log_half_width=0.5),)},
        {"home_usd_per_hour": 2.5},
    ],
    ids=str,
)
@pytest.mark.parametrize("version", ["2024-05-18", OWN_VERSION, "2026-09-28"])
def test_with_the_runs_own_prices_the_model_gives_the_runs_own_numbers(over: dict[str, Any], version: str) -> None:
    statistics, comparison = compare_as_track_does(gpu_statistics(**over), version)
    answer = predict(statistics, own_prices(comparison))
    assert len(answer) == len(comparison.rows)
    for row, (_, cells) in zip(comparison.rows, answer.iterrows(), strict=True):
        assert cells["gpu"] == row.offer.gpu
        assert cells["basis"] == row.speed_ratio.basis
        assert cells["fits_memory"] == row.fits_memory
        assert cells["problem"] == ""
        for name, value in figures_of(row.estimate).items():
            assert cells[name] == (None if value is None else EXACTLY(value, rel=1e-12)), name
        home = figures_of(comparison.home)
        for name in LOCAL_FIGURES:
            value = home[name.removeprefix("local_")]
            assert cells[name] == (None if value is None else EXACTLY(value, rel=1e-12)), name


def test_without_a_version_the_runs_own_price_sheet_says_where_an_offer_stands() -> None:
    statistics, comparison = compare_as_track_does(gpu_statistics(), "2024-05-18")
    with_version, without = (
        predict(statistics, frame) for frame in (own_prices(comparison), own_prices(comparison).drop(columns="version"))
    )
    assert without.drop(columns="version").equals(with_version.drop(columns="version"))


def test_a_ratio_that_the_user_gave_is_kept_by_the_model() -> None:
    given = OfferRatio(
        gpu_id="nvidia-h100-sxm5-80gb", speed_ratio=SpeedRatio(ratio=Interval.exactly(7.0), basis="given")
    )
    statistics = gpu_statistics(ratios=(given,))
    answer = predict(statistics, prices()).iloc[0]
    assert answer["basis"] == "given"
    assert answer["time_h"] == EXACTLY(answer["local_time_h"] / 7.0, rel=1e-12)


def test_rows_come_back_in_their_order_with_their_index() -> None:
    frame = pd.DataFrame(
        {"gpu": ["L40S 48GB", "no such card", "H100 HGX 80GB"], "price_usd_per_hour": [1.5, 2.0, 3.9]}, index=[7, 3, 5]
    )
    answer = predict(gpu_statistics(), frame)
    assert list(answer.index) == [7, 3, 5]
    assert list(answer["gpu"]) == ["L40S 48GB", "no such card", "H100 HGX 80GB"]
    assert list(answer.columns) == list(OUTPUTS)


def test_no_rows_are_no_rows() -> None:
    answer = predict(gpu_statistics(), prices().iloc[:0])
    assert list(answer.columns) == list(OUTPUTS)
    assert len(answer) == 0


@pytest.mark.parametrize(
    ("cells", "words"),
    [
        ({"gpu": ["no such card"]}, "no table knows the GPU 'no such card'"),
        ({"gpu": [None]}, "names no GPU"),
        ({"gpu": [float("nan")]}, "names no GPU"),
        ({"price_usd_per_hour": ["four"]}, "price_usd_per_hour is 'four'"),
        ({"price_usd_per_hour": [-1.0]}, "price_usd_per_hour is '-1.0'"),
        ({"price_usd_per_hour": [float("inf")]}, "price_usd_per_hour is 'inf'"),
        ({"spot_usd_per_hour": ["cheap"]}, "spot_usd_per_hour is 'cheap'"),
        ({"memory_gib": ["much"]}, "memory_gib is 'much'"),
        ({"statistics": ["{"]}, "not a JSON object"),
    ],
    ids=str,
)
def test_what_is_wrong_with_a_row_is_said_in_words(cells: dict[str, Any], words: str) -> None:
    answer = predict(gpu_statistics(), prices(**cells)).iloc[0]
    assert words in answer["problem"]


def test_a_row_that_cannot_be_estimated_still_says_what_home_takes() -> None:
    answer = predict(gpu_statistics(), prices(gpu=["no such card"])).iloc[0]
    assert answer["time_h"] is None
    assert answer["local_time_h"] > 0.0


def test_a_price_that_is_not_known_leaves_time_and_energy_known() -> None:
    answer = predict(gpu_statistics(), prices(price_usd_per_hour=[None])).iloc[0]
    assert answer["cost_usd"] is None
    assert answer["time_h"] > 0.0
    assert answer["energy_kwh"] > 0.0
    assert answer["problem"] == ""


def test_numbers_may_come_as_texts_and_whole() -> None:
    reference = predict(gpu_statistics(), prices())
    assert predict(gpu_statistics(), prices(price_usd_per_hour=["4"])).equals(reference)
    assert predict(gpu_statistics(), prices(price_usd_per_hour=[4])).equals(reference)


def test_a_version_that_looks_like_a_number_comes_back_as_it_was_written() -> None:
    assert predict(gpu_statistics(), prices(version=[2026.01])).iloc[0]["version"] == "2026.01"


def test_the_answer_is_strict_json() -> None:
    frame = prices(gpu=["MI355X 288GB"], price_usd_per_hour=[None])
    answer = predict(gpu_statistics(power=()), frame)
    assert json.loads(json.dumps(answer.to_dict(orient="records"), allow_nan=False))[0]["cost_usd"] is None


def test_a_spot_price_is_priced_beside_the_other() -> None:
    answer = predict(gpu_statistics(), prices(spot_usd_per_hour=[1.0])).iloc[0]
    assert answer["spot_cost_usd"] == EXACTLY(answer["cost_usd"] / 4.0, rel=1e-12)
    assert answer["spot_cost_usd_lo"] == EXACTLY(answer["cost_usd_lo"] / 4.0, rel=1e-12)


def test_memory_tells_boards_of_one_name_apart() -> None:
    frame = pd.DataFrame({"gpu": ["NVIDIA A100-SXM4"] * 3, "price_usd_per_hour": 2.0, "memory_gib": [40, 80, None]})
    answer = predict(gpu_statistics(), frame)
    known = answer["problem"] == ""
    assert not known[2]
    assert "several boards" in answer["problem"][2] or "no table knows" in answer["problem"][2]


def test_a_name_of_the_specs_table_or_its_key_will_do() -> None:
    frame = pd.DataFrame({"gpu": ["H100 HGX 80GB", "nvidia-h100-sxm5-80gb"], "price_usd_per_hour": 4.0})
    answer = predict(gpu_statistics(), frame)
    assert list(answer["problem"]) == ["", ""]
    assert answer["time_h"][0] == answer["time_h"][1]


def test_params_change_the_plan_and_the_place_of_home() -> None:
    statistics = gpu_statistics()
    own = predict(statistics, prices()).iloc[0]
    longer = predict(statistics, prices(), epochs=200).iloc[0]
    clean = predict(statistics, prices(), carbon_g_per_kwh=10.0, usd_per_kwh=0.1, pue=1.0).iloc[0]
    expected = estimate_changed(statistics, Change(epoch_count=200))
    assert longer["local_time_h"] == EXACTLY(expected.time_s.point / 3600.0, rel=1e-12)
    # What is paid once, and no GPU makes faster, weighs less on a longer training.
    assert longer["time_h"] / longer["local_time_h"] < own["time_h"] / own["local_time_h"]
    assert clean["local_co2_kg"] == EXACTLY(clean["local_energy_kwh"] * 10.0 / 1000.0, rel=1e-12)
    assert clean["local_cost_usd"] == EXACTLY(clean["local_energy_kwh"] * 0.1, rel=1e-12)
    assert clean["local_energy_kwh"] == EXACTLY(own["local_energy_kwh"] / 1.13, rel=1e-12)
    assert clean["co2_kg"] == own["co2_kg"]
    rented = predict(statistics, prices(), home_usd_per_hour=3.0).iloc[0]
    assert rented["local_cost_usd"] == EXACTLY(3.0 * rented["local_time_h"], rel=1e-12)
    assert rented["local_energy_kwh"] == own["local_energy_kwh"]


def test_params_that_say_what_the_run_has_change_nothing() -> None:
    statistics = gpu_statistics()
    defaults = {spec.name: spec.default for spec in make_signature(statistics).params}
    assert predict(statistics, prices(), **defaults).equals(predict(statistics, prices()))


@pytest.mark.parametrize(
    "params",
    [{"epochs": 0}, {"sample_count": -1}, {"carbon_g_per_kwh": -1.0}, {"pue": 0.9}, {"home_usd_per_hour": -1.0}],
)
def test_a_param_out_of_range_is_refused(params: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError):
        predict(gpu_statistics(), prices(), **params)


def test_a_table_without_prices_is_refused_with_the_columns_it_has() -> None:
    with pytest.raises(InvalidInputError, match=r"price_usd_per_hour is missing among gpu, cost"):
        predict(gpu_statistics(), pd.DataFrame({"gpu": ["L40S"], "cost": [1.0]}))


def test_a_row_may_speak_for_another_run() -> None:
    mine, others = gpu_statistics(), gpu_statistics(cloud_region="us-east1-a", gpu_count=1)
    other, comparison = compare_as_track_does(dataclasses.replace(others, pue=Interval.exactly(1.5)))
    frame = own_prices(comparison).assign(statistics=other.to_json())
    theirs = predict(other, own_prices(comparison))
    assert predict(mine, frame).equals(theirs)
    assert predict(None, frame).equals(theirs)


def test_a_model_without_a_run_asks_for_statistics() -> None:
    answer = predict(None, prices()).iloc[0]
    assert "has no statistics" in answer["problem"]
    assert answer["local_time_h"] is None


def test_facts_of_another_schema_version_are_refused() -> None:
    content = json.loads(facts_text(gpu_statistics()))
    with pytest.raises(RunDataError, match="'99'"):
        ModelFacts.from_json(json.dumps({**content, "schema_version": "99"}))


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"schema_version": "1"}', '{"schema_version": "1", "ratios": 5}'])
def test_broken_facts_are_an_error_of_ours(text: str) -> None:
    with pytest.raises(RunDataError):
        ModelFacts.from_json(text)


def test_every_gpu_of_the_specs_table_has_a_ratio() -> None:
    facts = gather_facts(gpu_statistics())
    assert {ratio.gpu_id for ratio in facts.ratios} == {spec.gpu_id for spec in facts.specs}


def test_predicting_reaches_no_heavy_library() -> None:
    code = (
        "import sys, json, pandas as pd\n"
        "from greenlove_mlflow.serving.facts import ModelFacts\n"
        "from greenlove_mlflow.serving.predict import Estimator\n"
        "facts = ModelFacts.from_json(sys.stdin.read())\n"
        "frame = pd.DataFrame({'gpu': ['H100 HGX 80GB'], 'price_usd_per_hour': [4.0]})\n"
        "assert Estimator(facts).estimate(frame, {})['time_h'][0] > 0\n"
        "print(json.dumps(sorted({name.split('.')[0] for name in sys.modules})))\n"
    )
    text = facts_text(gpu_statistics())
    done = subprocess.run([sys.executable, "-c", code], input=text, capture_output=True, text=True, check=True)
    assert not set(json.loads(done.stdout)) & {"torch", "pynvml", "requests", "scipy", "mlflow", "matplotlib"}


def test_the_light_part_leaves_tables_and_the_rest_of_the_package_at_home() -> None:
    heads = {module.split(".")[1] for module in light_modules() if "." in module}
    assert heads <= {"_version", "core", "errors", "numbers", "serving", "units", "untrusted"}
    assert not {"logging_model", "served"} & {module.rpartition(".")[2] for module in light_modules()}


def test_a_region_that_means_none_is_the_problem_of_its_row_alone() -> None:
    facts, _ = compare_as_track_does(gpu_statistics())
    texts = [dataclasses.replace(facts, cloud_region=region).to_json() for region in ("atlantis1-a", "us-east1-a")]
    frame = prices(gpu=["H100 HGX 80GB"] * 2, price_usd_per_hour=[4.0] * 2, statistics=texts)
    lost, found = predict(None, frame).to_dict("records")
    assert "atlantis1-a" in lost["problem"]
    assert lost["co2_kg"] is None
    assert lost["cost_usd"] > 0.0
    assert found["problem"] == ""
    assert found["co2_kg"] > 0.0


def test_an_instance_starts_as_slowly_as_the_run_says() -> None:
    facts, _ = compare_as_track_does(gpu_statistics())
    texts = [dataclasses.replace(facts, instance_start_s=start_s).to_json() for start_s in (60.0, 1860.0)]
    frame = prices(gpu=["H100 HGX 80GB"] * 2, price_usd_per_hour=[4.0] * 2, statistics=texts)
    quick, slow = predict(None, frame).to_dict("records")
    assert slow["cost_usd"] - quick["cost_usd"] == pytest.approx(4.0 * quick["rented_gpu_count"] * 0.5)
    assert slow["time_h"] == quick["time_h"]
