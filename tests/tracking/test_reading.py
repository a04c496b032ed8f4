"""Runs of others, as damaged as anybody may write them, beside a good one."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from mlflow import MlflowClient

from greenlove_mlflow.errors import RunDataError
from greenlove_mlflow.tracking import finished_runs, names, read_finished_runs, read_run
from greenlove_mlflow.tracking.values import opening_tags, tags_of
from tests.support.report import a_measured_training


@pytest.fixture
def make_run(store: str) -> Callable[..., str]:
    """A finished run whose statistics and metrics are as given."""
    client = MlflowClient(store)
    estimate, _ = a_measured_training()
    assert estimate.statistics is not None
    tags = {**opening_tags(), **tags_of(estimate.statistics)}
    content = json.loads(tags[names.TAG_STATS])

    def make(
        *, fit: dict[str, object] | None = None, text: str | None = None, name: str = "x", **metrics: float
    ) -> str:
        stats = text if text is not None else json.dumps({**content, "fit": {**content["fit"], **(fit or {})}})
        run = client.create_run("0", tags={**tags, names.TAG_STATS: stats}, run_name=name)
        run_id = str(run.info.run_id)
        values = {names.ACTUAL_TIME_H: 5.0, names.ACTUAL_TIME_ERROR_RATIO: 1.0, names.TRAIN_EPOCH_S: 180.0}
        for key, value in {**values, **metrics}.items():
            client.log_metric(run_id, key, value, step=0)
        client.set_terminated(run_id)
        return run_id

    return make


BAD_FITS: list[dict[str, object]] = [
    {"epoch_s": float("nan")},
    {"first_epoch_s": -5},
    {"sample_count": 0},
    {"block_s": 10**400},
    {"epoch_s": 1e300},
    {"degrees_of_freedom": "many"},
    {"drift_log_sd": 1e6},
    {"mode": "odd"},
    {"caveats": 5},
]


@pytest.mark.parametrize("fit", BAD_FITS, ids=str)
def test_one_bad_run_is_named_and_the_good_one_teaches(
    store: str, make_run: Callable[..., str], fit: dict[str, object]
) -> None:
    good, bad = make_run(), make_run(fit=fit)
    runs, skipped = read_finished_runs(store)
    assert [run.run_id for run in runs] == [good]
    ((run_id, reason),) = skipped
    assert run_id == bad
    assert bad in reason
    assert len(finished_runs(store)) == 1
    with pytest.raises(RunDataError, match=bad):
        read_run(bad, with_log=False)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", '{"a":' * 1300 + "1" + "}" * 1300, "{}", '{"schema_version":"9"}']
)
def test_what_is_no_statistics_is_named(store: str, make_run: Callable[..., str], text: str) -> None:
    good, bad = make_run(), make_run(text=text or " ")
    runs, skipped = read_finished_runs(store)
    assert [run.run_id for run in runs] == [good]
    assert [run_id for run_id, _ in skipped] == [bad]


@pytest.mark.parametrize("time_h", [float("nan"), float("inf"), 1e308, -1.0])
def test_a_time_that_cannot_be_is_named(store: str, make_run: Callable[..., str], time_h: float) -> None:
    bad = make_run(**{names.ACTUAL_TIME_H: time_h})
    runs, _ = read_finished_runs(store)
    assert runs == ()
    with pytest.raises(RunDataError, match=bad):
        read_run(bad, with_log=False)


def test_an_epoch_beyond_any_training_takes_no_memory(store: str, make_run: Callable[..., str]) -> None:
    bad = make_run()
    MlflowClient(store).log_metric(bad, names.TRAIN_EPOCH_S, 1.0, step=10**15)
    with pytest.raises(RunDataError, match="beyond"):
        read_run(bad, with_log=False)


def test_names_of_others_hold_nothing_that_a_terminal_obeys(make_run: Callable[..., str]) -> None:
    stored = read_run(make_run(name="\x1b]0;title\x07evil\u202e"), with_log=False)
    assert stored.name == "\ufffd]0;title\ufffdevil\ufffd"
    assert "\x1b" not in "".join(stored.tags.values())


def test_what_became_of_a_run_is_what_its_training_says_and_mlflow_says_only_the_rest(
    make_run: Callable[..., str], store: str
) -> None:
    run_id, client = make_run(), MlflowClient(store)
    # Its training's own status was never written: its process was killed.
    assert read_run(run_id, store_uri=store, with_log=False).fate == "finished"
    for status in (names.STATUS_REFUSED, names.STATUS_PRUNED, names.STATUS_STOPPED, "failed"):
        client.set_tag(run_id, names.TAG_STATUS, status)
        assert read_run(run_id, store_uri=store, with_log=False).fate == status


def test_a_run_that_ended_well_and_trained_nothing_was_planned(store: str) -> None:
    client, (estimate, _) = MlflowClient(store), a_measured_training()
    assert estimate.statistics is not None
    run_id = client.create_run("0", tags={**opening_tags(), **tags_of(estimate.statistics)}).info.run_id
    assert read_run(run_id, store_uri=store, with_log=False).fate == "running"
    client.set_terminated(run_id)
    assert read_run(run_id, store_uri=store, with_log=False).fate == "planned"
