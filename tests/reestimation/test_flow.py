"""A whole experiment estimated again, on a real SQLite store."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from mlflow import MlflowClient

import greenlove_mlflow as greenlove
from greenlove_mlflow.core.account.run_facts import RunFacts
from greenlove_mlflow.core.interval import Interval
from greenlove_mlflow.core.offers.choice import best_value
from greenlove_mlflow.core.offers.compare import Comparison
from greenlove_mlflow.core.records import StepProfile
from greenlove_mlflow.core.speed.gpus import ProbeResult
from greenlove_mlflow.errors import InvalidInputError, RunDataError, TableError, TrackingError
from greenlove_mlflow.reestimation.result_run import history_lines
from greenlove_mlflow.serving.facts import ModelFacts
from greenlove_mlflow.serving.logging_model import gather_facts
from greenlove_mlflow.serving.predict import Estimator
from greenlove_mlflow.tables import read_parquet_metadata, read_price_sheet, read_table, table_versions
from greenlove_mlflow.tracking import names
from tests.support.factories import a_fit, a_grid, a_machine, a_power
from tests.support.reestimation import OWN_VERSION, compare_as_track_does, gpu_statistics, log_tracked_run
from tests.support.server import free_port
from tests.support.store import OLD_STORE_IS_CLOSED, store_in

pytestmark = pytest.mark.slow

NEWEST = table_versions("crusoe_prices")[-1]
ALL = table_versions("crusoe_prices")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("reestimate")
    with store_in(folder) as uri:
        yield uri


@pytest.fixture
def client(store: str) -> MlflowClient:
    return MlflowClient(store)


Logger = Callable[..., tuple[str, Comparison]]


@pytest.fixture
def experiment(client: MlflowClient, request: pytest.FixtureRequest) -> str:
    name: str = request.node.name
    client.create_experiment(name)
    return name


@pytest.fixture
def log_run(client: MlflowClient, experiment: str) -> Logger:
    experiment_id = client.get_experiment_by_name(experiment).experiment_id
    return lambda statistics=None, **options: log_tracked_run(client, experiment_id, statistics, **options)


def the_runs(client: MlflowClient, experiment: str) -> list[Any]:
    return list(client.search_runs([client.get_experiment_by_name(experiment).experiment_id]))


def everything(client: MlflowClient, run_id: str) -> list[tuple[Any, ...]]:
    """All that a run holds of metrics, history included."""
    keys = client.get_run(run_id).data.metrics
    return sorted(
        (each.key, each.step, each.timestamp, each.value)
        for key in keys
        for each in client.get_metric_history(run_id, key)
    )


VARIED = [
    gpu_statistics(),
    gpu_statistics(fit=a_fit(epoch_s=101.3), cloud_region="us-east1-a", instance_start_s=1800.0),
    gpu_statistics(grid=a_grid(scope="direct"), precision="fp32", model_kind="convolutional"),
    gpu_statistics(power=(), peak_memory_gib=None, gpu_count=4),
    gpu_statistics(power=(a_power(source="modelled"),), grid=a_grid(intensity_g_per_kwh=None, price_usd_per_kwh=None)),
    gpu_statistics(profile=StepProfile(loader_s=0.01, fetch_s=0.002, host_s=0.0493, device_busy_s=0.0399)),
    gpu_statistics(
        home=None,
        power=(a_power(device="cpu", power_w=61.3, log_half_width=0.5),),
        profile=StepProfile(
            loader_s=0.0,
            host_s=0.19,
            launch_count=475.5,
            flop_count=1e11,
            moved_bytes=3e9,
            dispatch_s=4e-6,
            on_cpu=True,
        ),
    ),
    gpu_statistics(schema_version="1", home_usd_per_hour=2.5),
]


def test_batch_model_and_track_agree_on_the_same_facts(log_run: Logger, experiment: str) -> None:
    """Relative 1e-12 between the three, over runs that differ and over every published price sheet."""
    tracked = {version: [log_run(each, sheet=version) for each in VARIED] for version in ALL}
    found = greenlove.reestimate(experiment, prices="all", dry_run=True)
    table, home = found.table.set_index(["run_id", "version"]).sort_index(), found.home.set_index("run_id")
    columns = [
        *(f"{name}{end}" for name in ("time_h", "cost_usd", "energy_kwh", "co2_kg") for end in ("", "_lo", "_hi"))
    ]
    for version, runs in tracked.items():
        for run_id, comparison in runs:
            batch = table.loc[(run_id, version)]
            prices = batch[["gpu", "price_usd_per_hour"]].assign(version=version).reset_index(drop=True)
            statistics = comparison.home.statistics
            assert statistics is not None
            model = Estimator(ModelFacts.from_json(gather_facts(statistics).to_json())).estimate(prices, {})
            track = pd.DataFrame([figures(row.estimate) for row in comparison.rows], columns=columns)
            assert list(batch["gpu"]) == [row.offer.gpu for row in comparison.rows]
            assert list(batch["basis"]) == [row.speed_ratio.basis for row in comparison.rows] == list(model["basis"])
            np.testing.assert_allclose(batch[columns].to_numpy(float), track.to_numpy(float), rtol=1e-12)
            np.testing.assert_allclose(model[columns].to_numpy(float), track.to_numpy(float), rtol=1e-12)
            at_home = np.array(figures(comparison.home), dtype=float)
            np.testing.assert_allclose(home.loc[run_id, columns].to_numpy(float), at_home, rtol=1e-12)


def figures(estimate: greenlove.Estimate) -> list[float | None]:
    kilograms = None if estimate.co2_g is None else estimate.co2_g.scaled(1e-3)
    hours = estimate.time_s.scaled(1.0 / 3600.0)
    return [
        None if value is None else getattr(value, end)
        for value in (hours, estimate.cost_usd, estimate.energy_kwh, kilograms)
        for end in ("point", "low", "high")
    ]


def test_the_table_has_a_row_per_run_offer_and_version(log_run: Logger, experiment: str) -> None:
    runs = [log_run()[0] for _ in range(3)]
    found = greenlove.reestimate(experiment, prices=[OWN_VERSION, NEWEST], dry_run=True)
    offers = [
        offer
        for version in (OWN_VERSION, NEWEST)
        for offer in read_price_sheet(version).offers
        if offer.billing in ("on-demand", "contact-sales")
    ]
    table = found.table
    assert list(table.columns[:3]) == ["run_id", "gpu", "version"]
    assert list(table["run_id"].unique()) == runs
    assert list(table["gpu"]) == [offer.gpu for offer in offers] * 3
    assert list(table["version"]) == [offer.version for offer in offers] * 3
    assert found.versions == (OWN_VERSION, NEWEST)
    unpriced = table["price_usd_per_hour"].isna()
    assert table.loc[unpriced, "cost_usd"].isna().all()
    assert table["time_h"].notna().all()


def test_a_gpu_that_the_first_comparison_did_not_have_gets_its_ratio_from_the_tables(
    log_run: Logger, experiment: str
) -> None:
    log_run(sheet="2024-05-18")
    table = greenlove.reestimate(experiment, dry_run=True).table
    assert set(table["basis"]) <= {"measured", "throughput", "mlperf", "spec"}
    assert table["time_h"].notna().all()


def test_a_probed_machine_is_estimated_on_every_offer_of_every_date(log_run: Logger, experiment: str) -> None:
    probe = ProbeResult(
        device_name="a laptop",
        matmul_tflops=Interval.from_log_width(0.2, 0.1),
        copy_gb_per_s=Interval.from_log_width(11.0, 0.2),
    )
    log_run(gpu_statistics(home=None, machine=a_machine(), probe=probe, precision="fp32", peak_memory_gib=None))
    table = greenlove.reestimate(experiment, prices="all", dry_run=True).table
    assert table["time_h"].notna().all()
    assert set(table["basis"]) == {"spec"}


def test_a_run_whose_machine_no_table_knows_is_estimated_where_it_kept_a_ratio(
    client: MlflowClient, log_run: Logger, experiment: str
) -> None:
    run_id, comparison = log_run()
    statistics = RunFacts.from_json(client.get_run(run_id).data.tags[names.TAG_STATS])
    nameless = json.loads(statistics.to_json())
    del nameless["home"]
    client.set_tag(run_id, names.TAG_STATS, json.dumps(nameless))
    table = greenlove.reestimate(experiment, prices=NEWEST, dry_run=True).table
    kept = table["gpu"].isin([row.offer.gpu for row in comparison.rows])
    assert table.loc[kept, "time_h"].notna().all()
    assert table.loc[~kept, "time_h"].isna().all()
    assert set(table.loc[~kept, "problem"]) == {"no speed ratio is known between this run's machine and that GPU"}
    assert set(table.loc[kept, "problem"]) == {""}


def test_runs_that_cannot_be_used_are_reported_by_id_and_left_out(
    client: MlflowClient, log_run: Logger, experiment: str
) -> None:
    good, _ = log_run()
    experiment_id = client.get_experiment_by_name(experiment).experiment_id
    foreign = client.create_run(experiment_id).info.run_id
    unfinished = client.create_run(experiment_id, tags={names.TAG_KIND: names.KIND_TRACK}).info.run_id
    sound = RunFacts.to_json(compare_as_track_does(gpu_statistics())[0])
    texts = {
        "torn": sound[:300],
        "newer": json.dumps({**json.loads(sound), "schema_version": "3"}),
        "no region": json.dumps({**json.loads(sound), "cloud_region": "atlantis1-a"}),
        "no power": json.dumps({**json.loads(sound), "power": [["gpu_0", "much"]]}),
        "negative": json.dumps({**json.loads(sound), "pue": {"point": -1, "low": -1, "high": -1}}),
    }
    broken = {
        name: client.create_run(experiment_id, tags={names.TAG_STATS: text}).info.run_id for name, text in texts.items()
    }
    for run_id in broken.values():
        client.log_metric(run_id, names.ACTUAL_TIME_H, 1.0)
    found = greenlove.reestimate(experiment, dry_run=True)
    reasons = {each.run_id: each.reason for each in found.skipped}
    assert set(found.table["run_id"]) == {good}
    assert set(reasons) == {foreign, unfinished, *broken.values()}
    assert "not made by track" in reasons[foreign]
    assert "did not finish" in reasons[unfinished]
    assert "'3'" in reasons[broken["newer"]]
    assert "atlantis1-a" in reasons[broken["no region"]]


def test_pages_are_read_whole_and_in_any_size(log_run: Logger, experiment: str) -> None:
    runs = {log_run()[0] for _ in range(5)}
    told: list[tuple[int, int]] = []
    tables = [
        greenlove.reestimate(
            experiment, dry_run=True, page_size=size, progress=lambda done, left: told.append((done, left))
        ).table
        for size in (1, 2, 5, 500)
    ]
    assert all(set(table["run_id"]) == runs for table in tables)
    assert all(table.equals(tables[0]) for table in tables[1:])
    assert told[:5] == [(1, 0), (2, 0), (3, 0), (4, 0), (5, 0)]


def test_a_filter_picks_runs(log_run: Logger, experiment: str) -> None:
    log_run()
    long, _ = log_run(gpu_statistics(fit=a_fit(epoch_s=5000.0, first_epoch_s=5000.0)))
    found = greenlove.reestimate(experiment, dry_run=True, filter_string='metrics."green/time_h/local" > 10')
    assert set(found.table["run_id"]) == {long}


def test_a_dry_run_leaves_the_store_as_it_was(client: MlflowClient, log_run: Logger, experiment: str) -> None:
    run_id, _ = log_run()
    before = everything(client, run_id), client.get_run(run_id).data.tags
    found = greenlove.reestimate(experiment, prices="all", write_back=True, dry_run=True)
    assert found.run_id is None
    assert (everything(client, run_id), client.get_run(run_id).data.tags) == before
    assert len(the_runs(client, experiment)) == 1


def test_the_result_is_kept_in_one_run_with_prices_rows_table_and_picture(
    client: MlflowClient, log_run: Logger, experiment: str, tmp_path: Path
) -> None:
    log_run()
    log_run(gpu_statistics(fit=a_fit(epoch_s=33.0)))
    found = greenlove.reestimate(experiment, prices=[OWN_VERSION, NEWEST])
    assert found.run_id is not None
    run = client.get_run(found.run_id)
    assert run.info.status == "FINISHED"
    assert run.data.tags[names.TAG_KIND] == names.KIND_REESTIMATE
    assert run.data.metrics["green/reestimate/run_count"] == 2
    assert run.data.params[names.PARAM_PRICES_VERSION] == f"{OWN_VERSION}, {NEWEST}"
    assert run.data.tags["mlflow.note.content"].startswith(
        f"**With the prices of {NEWEST}, none of 2 runs has another best choice than when first compared.**"
    )
    inputs = {each.dataset.digest: {tag.key: tag.value for tag in each.tags} for each in run.inputs.dataset_inputs}
    newest = inputs[read_table("crusoe_prices", NEWEST).sha256[:36]]
    assert newest["greenlove.version"] == NEWEST
    assert newest["mlflow.data.context"] == "prices"
    local = Path(client.download_artifacts(found.run_id, "greenlove", str(tmp_path)))
    assert pq.read_table(local / "reestimates.parquet").to_pandas().equals(found.table)
    assert read_parquet_metadata(local / "reestimates.parquet")["greenlove.table"] == "reestimates"
    stated = read_parquet_metadata(local / "tables" / f"crusoe_prices-{NEWEST}.parquet")
    assert stated["greenlove.sha256"] == read_table("crusoe_prices", NEWEST).sha256
    summary = client.load_table(run.info.experiment_id, "greenlove/summary.json", run_ids=[found.run_id])
    assert list(summary.columns[:2]) == ["gpu", "cost_usd_total"]
    assert (local / "plots" / "price_history.png").read_bytes().startswith(b"\x89PNG")
    assert json.loads((local / "skipped.json").read_text()) == []
    assert {"reestimates.csv", "choices.parquet", "choices.csv", "changed_choices.csv", "best_choices.csv"} <= {
        path.name for path in local.iterdir()
    }


def test_totals_are_those_of_the_rows(log_run: Logger, experiment: str) -> None:
    for epoch_s in (9.0, 12.5, 700.0):
        log_run(gpu_statistics(fit=a_fit(epoch_s=epoch_s)))
    found = greenlove.reestimate(experiment, prices="all", dry_run=True)
    rows = found.table.groupby(["version", "gpu"], sort=False)
    summary = found.summary.set_index(["version", "gpu"])
    for key, group in rows:
        assert summary.loc[key, "cost_usd_run_count"] == group["cost_usd"].notna().sum()
        assert summary.loc[key, "time_h_total"] == pytest.approx(group["time_h"].sum(), rel=1e-12)
        if group["cost_usd"].notna().any():
            assert summary.loc[key, "cost_usd_total"] == pytest.approx(group["cost_usd"].sum(), rel=1e-12)
        else:
            assert np.isnan(summary.loc[key, "cost_usd_total"])
    assert (found.summary.groupby("version")["best_for_run_count"].sum() == 3).all()


def test_the_best_choice_is_the_one_of_the_comparison(log_run: Logger, experiment: str) -> None:
    dear = Interval.exactly(900.0)
    runs = [log_run(each) for each in (*VARIED, gpu_statistics(grid=a_grid(price_usd_per_kwh=dear)))]
    choices = greenlove.reestimate(experiment, prices=OWN_VERSION, dry_run=True).choices.set_index("run_id")
    for run_id, comparison in runs:
        choice = best_value(comparison)
        expected = "" if choice is None else "local" if choice.row is None else choice.row.offer.gpu
        assert choices.loc[run_id, "best"] == expected == choices.loc[run_id, "best_before"]
    assert len(set(choices["best"])) > 1


def test_a_best_choice_that_changes_is_counted_and_named(
    client: MlflowClient, log_run: Logger, experiment: str, tmp_path: Path
) -> None:
    dear = gpu_statistics(grid=a_grid(price_usd_per_kwh=Interval.exactly(900.0)))
    changed, comparison = log_run(dear)
    log_run()
    before = best_value(comparison)
    assert before is not None
    assert before.row is not None
    path = tmp_path / "mine.csv"
    path.write_text("gpu,price_usd_per_hour\nH100 HGX 80GB,1\n")
    sheet = read_price_sheet(path, version="mine", as_of="2026-10-01", source="a quote")
    found = greenlove.reestimate(experiment, prices=sheet)
    assert found.changed_run_count == 1
    assert found.changes.to_dict(orient="records") == [
        {"best_before": before.row.offer.gpu, "best_now": "H100 HGX 80GB", "run_count": 1}
    ]
    choices = found.choices
    assert list(choices.loc[choices["changed"], "run_id"]) == [changed]
    assert found.run_id is not None
    assert "H100 HGX 80GB" in client.get_run(found.run_id).data.tags["mlflow.note.content"]


def test_plans_that_never_ran_are_left_out_or_estimated_apart(
    log_run: Logger, client: MlflowClient, experiment: str
) -> None:
    trained, _ = log_run()
    refused, _ = log_run(has_trained=False)
    client.set_tag(refused, names.TAG_STATUS, names.STATUS_REFUSED)
    planned, _ = log_run(has_trained=False)
    found = greenlove.reestimate(experiment, dry_run=True)
    assert set(found.table["run_id"]) == {trained}
    assert {each.run_id: "refused" in each.reason for each in found.skipped} == {refused: True, planned: False}
    plans = greenlove.reestimate(experiment, dry_run=True, planned=True)
    assert set(plans.table["run_id"]) == {refused, planned}
    assert [each.run_id for each in plans.skipped] == [trained]


def test_only_the_newest_prices_say_what_changed_and_a_gpu_that_a_sheet_lacks_is_not_listed(
    log_run: Logger, experiment: str, tmp_path: Path
) -> None:
    log_run(gpu_statistics(grid=a_grid(price_usd_per_kwh=Interval.exactly(900.0))))
    sheets = []
    for name, date, rows in (
        ("old", "2026-01-01", "A100 PCIe 80GB,1\n"),
        ("new", "2026-10-01", "A100 PCIe 80GB,49\nH100 HGX 80GB,1\n"),
    ):
        path = tmp_path / f"{name}.csv"
        path.write_text(f"gpu,price_usd_per_hour\n{rows}")
        sheets.append(read_price_sheet(path, version=name, as_of=date, source="a quote"))
    found = greenlove.reestimate(experiment, prices=sheets, dry_run=True)
    history = found.history.set_index("version")
    assert history.loc["old", "not_listed"] == "H100 HGX 80GB"
    assert history.loc["old", "best"] == "A100 PCIe 80GB"
    assert (history.loc["new", "best"], history.loc["new", "not_listed"]) == ("H100 HGX 80GB", "")
    assert dict(history_lines(found.history))["old"] == "A100 PCIe 80GB (1); H100 HGX 80GB not listed"


def test_another_place_changes_home_and_leaves_the_offers(log_run: Logger, experiment: str) -> None:
    log_run()
    own = greenlove.reestimate(experiment, dry_run=True)
    there = greenlove.reestimate(experiment, grid="IS", dry_run=True)
    given = greenlove.reestimate(
        experiment, carbon_intensity_g_per_kwh=100.0, electricity_price_usd_per_kwh=0.5, pue=1.0, dry_run=True
    )
    assert there.home["co2_kg"][0] < own.home["co2_kg"][0]
    assert there.table.equals(own.table)
    assert given.home["co2_kg"][0] == pytest.approx(given.home["energy_kwh"][0] / 10.0, rel=1e-12)
    assert given.home["cost_usd"][0] == pytest.approx(given.home["energy_kwh"][0] / 2.0, rel=1e-12)


def test_a_longer_plan_is_longer_everywhere(log_run: Logger, experiment: str) -> None:
    log_run()
    own, longer = (greenlove.reestimate(experiment, epochs=epochs, dry_run=True) for epochs in (None, 200))
    factor = longer.home["time_h"][0] / own.home["time_h"][0]
    assert factor > 5.0
    # The start of an instance and what is paid once weigh less on a longer training.
    costs = longer.table["cost_usd"] / own.table["cost_usd"]
    assert costs.dropna().between(2.0, factor, inclusive="neither").all()


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"prices": "1999-01-01"}, TableError, "1999-01-01"),
        ({"prices": []}, InvalidInputError, "no price sheet"),
        ({"prices": ["newest", NEWEST]}, InvalidInputError, "two price sheets"),
        ({"carbon_intensity_g_per_kwh": -1.0}, InvalidInputError, "intensity_g_per_kwh"),
        ({"epochs": 0}, InvalidInputError, "epoch_count"),
        ({"grid": "XX"}, InvalidInputError, "XX"),
    ],
    ids=str,
)
def test_what_cannot_be_used_is_refused_before_a_run_is_read(
    experiment: str, options: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        greenlove.reestimate(experiment, **options)


def test_an_unknown_experiment_is_an_error_that_names_those_there_are(experiment: str) -> None:
    with pytest.raises(RunDataError, match="no experiment 'nowhere'"):
        greenlove.reestimate("nowhere")


def test_a_filter_that_mlflow_cannot_read_is_shown(log_run: Logger, experiment: str) -> None:
    with pytest.raises(InvalidInputError, match="cannot read the filter 'green epochs'"):
        greenlove.reestimate(experiment, filter_string="green epochs")


@OLD_STORE_IS_CLOSED
def test_a_store_that_mlflow_no_longer_writes_to_says_what_to_do(
    experiment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_ALLOW_FILE_STORE", raising=False)
    with pytest.raises(TrackingError, match="migrate-filestore"):
        greenlove.reestimate(experiment, tracking_uri=str(tmp_path / "mlruns"))


def test_a_server_that_does_not_answer_is_said_at_once(experiment: str) -> None:
    with pytest.raises(TrackingError, match="does not answer"):
        greenlove.reestimate(experiment, tracking_uri=f"http://127.0.0.1:{free_port()}")


def test_an_experiment_without_a_usable_run_makes_no_run(client: MlflowClient, experiment: str) -> None:
    client.create_run(client.get_experiment_by_name(experiment).experiment_id)
    found = greenlove.reestimate(experiment)
    assert (found.run_id, found.run_count, len(found.skipped)) == (None, 0, 1)
    assert found.table.empty


def test_an_experiment_may_be_named_by_its_id(client: MlflowClient, log_run: Logger, experiment: str) -> None:
    log_run()
    assert greenlove.reestimate(client.get_experiment_by_name(experiment).experiment_id, dry_run=True).run_count == 1


def test_the_function_is_no_module_even_after_its_package_was_imported() -> None:
    import greenlove_mlflow.reestimation

    assert callable(greenlove.reestimate)
    assert greenlove_mlflow.reestimation.reestimate is greenlove.reestimate
