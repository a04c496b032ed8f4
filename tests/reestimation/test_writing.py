"""Estimates written back into the runs they are of."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient

import greenlove_mlflow as greenlove
from greenlove_mlflow.errors import InvalidInputError
from greenlove_mlflow.reestimation import writing
from greenlove_mlflow.tables import read_price_sheet, table_versions
from greenlove_mlflow.tracking import names
from greenlove_mlflow.tracking import values as record
from tests.support.reestimation import OWN_VERSION, compare_as_track_does, gpu_statistics, log_tracked_run
from tests.support.store import store_in

NEWEST = table_versions("crusoe_prices")[-1]
COST = "green/cost_usd/A100-PCIe-80GB"
HOME_CO2 = "green/co2_kg/local"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("write-back")
    with store_in(folder) as uri:
        yield uri


@pytest.fixture
def client(store: str) -> MlflowClient:
    return MlflowClient(store)


@pytest.fixture
def experiment(client: MlflowClient, request: pytest.FixtureRequest) -> str:
    name: str = request.node.name
    client.create_experiment(name)
    return name


@pytest.fixture
def run_id(client: MlflowClient, experiment: str) -> str:
    return log_tracked_run(client, client.get_experiment_by_name(experiment).experiment_id)[0]


Points = set[tuple[str, int, int, float]]


def all_points(client: MlflowClient, run_id: str) -> Points:
    keys = client.get_run(run_id).data.metrics
    return {(m.key, m.step, m.timestamp, m.value) for key in keys for m in client.get_metric_history(run_id, key)}


def steps(client: MlflowClient, run_id: str, key: str) -> list[int]:
    return sorted(each.step for each in client.get_metric_history(run_id, key))


def test_a_newer_version_is_the_newest_value_and_the_old_step_stays(
    client: MlflowClient, run_id: str, experiment: str
) -> None:
    before = all_points(client, run_id)
    greenlove.reestimate(experiment, prices=NEWEST, write_back=True)
    after = all_points(client, run_id)
    assert before < after
    assert steps(client, run_id, COST) == [names.step_of_date(OWN_VERSION), names.step_of_date(NEWEST)]
    _, comparison = compare_as_track_does(gpu_statistics(), NEWEST)
    row = next(row for row in comparison.rows if row.offer.gpu == "A100 PCIe 80GB")
    assert row.estimate.cost_usd is not None
    assert client.get_run(run_id).data.metrics[COST] == pytest.approx(row.estimate.cost_usd.point, rel=5e-4)


def is_of(key: str, gpus: set[str]) -> bool:
    return key.rsplit("/", maxsplit=1)[-1] in gpus


NO_LONGER_SOLD = {
    names.slug_of_offer(offer)
    for version in table_versions("crusoe_prices")
    for offer in read_price_sheet(version).offers
    if offer.gpu_id not in {each.gpu_id for each in read_price_sheet().offers}
}


def test_what_is_written_is_what_track_would_have_logged(client: MlflowClient, run_id: str, experiment: str) -> None:
    before = all_points(client, run_id)
    greenlove.reestimate(experiment, prices="all", write_back=True)
    written = {(key, step): (at_ms, value) for key, step, at_ms, value in all_points(client, run_id) - before}
    for version in table_versions("crusoe_prices"):
        if version == OWN_VERSION:
            continue
        # The run keeps the ratios of its own sheet; those of other GPUs come from the same tables.
        _, comparison = compare_as_track_does(gpu_statistics(), version)
        expected = record.estimate_points(comparison.home, comparison, as_of=version)
        found = {key: cell for (key, step), cell in written.items() if step == names.step_of_date(version)}
        # A metric's last value stands beside today's, so a GPU that is no longer sold gets none.
        expected = [point for point in expected if not is_of(point.key, NO_LONGER_SOLD)]
        assert set(found) == {point.key for point in expected}
        for point in expected:
            at_ms, value = found[point.key]
            assert at_ms == point.timestamp_ms
            assert value == pytest.approx(point.value, rel=1e-12), point.key


def test_with_the_runs_own_version_nothing_changes(client: MlflowClient, run_id: str, experiment: str) -> None:
    before = all_points(client, run_id), client.get_run(run_id).data.tags
    found = greenlove.reestimate(experiment, prices=OWN_VERSION, write_back=True)
    assert (all_points(client, run_id), client.get_run(run_id).data.tags) == before
    assert found.written.run_count == 0


def test_done_again_it_doubles_nothing(client: MlflowClient, run_id: str, experiment: str) -> None:
    first = greenlove.reestimate(experiment, prices="all", write_back=True)
    before = all_points(client, run_id)
    second = greenlove.reestimate(experiment, prices="all", write_back=True)
    assert all_points(client, run_id) == before
    assert (second.run_id, second.is_new, second.written.metric_count) == (first.run_id, False, 0)
    runs = client.search_runs([client.get_experiment_by_name(experiment).experiment_id])
    assert len(runs) == 2


def test_a_new_run_makes_a_new_reestimation_and_leaves_the_written_ones_alone(
    client: MlflowClient, run_id: str, experiment: str
) -> None:
    first = greenlove.reestimate(experiment, prices=NEWEST, write_back=True)
    before = all_points(client, run_id)
    log_tracked_run(client, client.get_experiment_by_name(experiment).experiment_id)
    second = greenlove.reestimate(experiment, prices=NEWEST, write_back=True)
    assert second.is_new
    assert second.run_id != first.run_id
    assert second.written.run_count == 1
    assert all_points(client, run_id) == before


def test_another_grid_takes_the_time_of_writing_and_is_then_the_newest(
    client: MlflowClient, run_id: str, experiment: str
) -> None:
    own = client.get_run(run_id).data.metrics[HOME_CO2]
    greenlove.reestimate(experiment, prices=OWN_VERSION, grid="IS", write_back=True)
    there = client.get_run(run_id).data.metrics[HOME_CO2]
    assert there < own
    history = client.get_metric_history(run_id, HOME_CO2)
    assert [each.step for each in history] == [names.step_of_date(OWN_VERSION)] * 2
    assert {each.timestamp == names.timestamp_ms_of_date(OWN_VERSION) for each in history} == {True, False}
    before = all_points(client, run_id)
    greenlove.reestimate(experiment, prices=OWN_VERSION, grid="IS", write_back=True)
    assert all_points(client, run_id) == before


def test_back_from_another_grid_the_runs_own_numbers_are_the_newest_again(
    client: MlflowClient, run_id: str, experiment: str
) -> None:
    own = client.get_run(run_id).data.metrics[HOME_CO2]
    greenlove.reestimate(experiment, prices=OWN_VERSION, grid="IS", write_back=True)
    greenlove.reestimate(experiment, prices=OWN_VERSION, write_back=True)
    assert client.get_run(run_id).data.metrics[HOME_CO2] == pytest.approx(own, rel=1e-12)


def test_the_status_of_the_source_run_stays(client: MlflowClient, run_id: str, experiment: str) -> None:
    before = client.get_run(run_id).info
    greenlove.reestimate(experiment, prices=NEWEST, write_back=True)
    after = client.get_run(run_id).info
    assert (after.status, after.end_time, after.run_name) == (before.status, before.end_time, before.run_name)


def test_two_sheets_of_one_date_are_not_written_into_one_step(
    client: MlflowClient, run_id: str, experiment: str, tmp_path: Path
) -> None:
    path = tmp_path / "mine.csv"
    path.write_text("gpu,price_usd_per_hour\nH100 HGX 80GB,2\n")
    mine = read_price_sheet(path, version="mine", as_of=NEWEST, source="a quote")
    with pytest.raises(InvalidInputError, match="one after the other"):
        greenlove.reestimate(experiment, prices=[NEWEST, mine], write_back=True)
    assert greenlove.reestimate(experiment, prices=[NEWEST, mine], dry_run=True).versions == (NEWEST, "mine")


def test_a_run_that_cannot_be_written_is_reported_and_the_others_are(
    client: MlflowClient, run_id: str, experiment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    other, _ = log_tracked_run(client, client.get_experiment_by_name(experiment).experiment_id)
    write = writing.WriteBack.write

    def delete_meanwhile(self: writing.WriteBack, page: writing.PricedPage) -> writing.Written:
        client.delete_run(run_id)
        return write(self, page)

    monkeypatch.setattr(writing.WriteBack, "write", delete_meanwhile)
    found = greenlove.reestimate(experiment, prices=NEWEST, write_back=True)
    assert [each.run_id for each in found.skipped] == [run_id]
    assert "writing back failed" in found.skipped[0].reason
    assert found.written.run_count == 1
    assert names.step_of_date(NEWEST) in steps(client, other, COST)


@pytest.mark.parametrize("text", ["{", "[]", "5", '{"20260928": 5}'])
def test_a_note_of_earlier_writing_that_is_torn_is_written_anew(
    client: MlflowClient, run_id: str, experiment: str, text: str
) -> None:
    client.set_tag(run_id, "greenlove.written_back", text)
    assert greenlove.reestimate(experiment, prices=NEWEST, write_back=True).written.run_count == 1
    assert greenlove.reestimate(experiment, prices=NEWEST, write_back=True).written.run_count == 0
