"""What reaches a store, event by event, whatever the store or the spool holds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE

from greenlove_mlflow.tracking.spool import sender as senders
from greenlove_mlflow.tracking.spool.asides import LATER, REFUSED
from greenlove_mlflow.tracking.spool.events import EndEvent, LapEvent, MetricEvent, ParamsEvent, TagsEvent
from greenlove_mlflow.tracking.spool.header import new_header
from greenlove_mlflow.tracking.spool.sender import RunGoneError, Sender
from greenlove_mlflow.tracking.spool.spool import EVENTS, Spool

KEY = "green/train/epoch_s"
END = EndEvent(status="FINISHED", end_ms=5, is_own_end=True)


@pytest.fixture
def spool(store: str, tmp_path: Path) -> Spool:
    run_id = MlflowClient(store).create_run("0").info.run_id
    return Spool.create(tmp_path / "greenlove", new_header(store_uri=store, run_id=run_id, is_ours=True))


def lap(index: int, duration_s: float = 1.0) -> LapEvent:
    return LapEvent(index=index, duration_s=duration_s, energy_j=None, forecast_s=None, timestamp_ms=1000 + index)


def steps_of(store: str, spool: Spool, key: str = KEY) -> list[int]:
    history = MlflowClient(store).get_metric_history(str(spool.header.run_id), key)
    return sorted(point.step for point in history)


def append_raw(spool: Spool, *lines: bytes) -> None:
    assert spool.folder is not None
    with (spool.folder / EVENTS).open("ab") as file:
        file.write(b"".join(lines))


@pytest.mark.parametrize("bad_at", [0, 77, 153])
def test_one_bad_point_takes_no_other_along(store: str, spool: Spool, bad_at: int) -> None:
    for index in range(154):
        spool.append(lap(index) if index != bad_at else MetricEvent(key="a//b", value=1.0, timestamp_ms=1, step=0))
    spool.append(END)
    sender = Sender(spool, store)
    sender.send()
    assert steps_of(store, spool) == [index for index in range(154) if index != bad_at]
    assert (sender.sent_point_count, sender.refused_count, sender.is_done, sender.is_whole) == (153, 1, True, False)
    (refused,) = spool.asides.read(REFUSED)
    assert b"a//b" in refused.line
    assert refused.reason
    assert MlflowClient(store).get_run(str(spool.header.run_id)).info.status == "FINISHED"


def test_a_request_that_is_too_large_for_a_proxy_is_halved(
    store: str, spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    deliver = senders.deliver_points

    def limited(client: MlflowClient, run_id: str, points: Any) -> None:
        if len(points) > 100:
            raise MlflowException("API request to endpoint /x failed with error code 413 != 200. Response body: ''")
        deliver(client, run_id, points)

    monkeypatch.setattr(senders, "deliver_points", limited)
    for index in range(900):
        spool.append(lap(index))
    spool.append(END)
    sender = Sender(spool, store)
    sender.send()
    assert sender.is_whole
    assert steps_of(store, spool) == list(range(900))


@pytest.mark.parametrize(
    "error",
    [
        MlflowException("API request to endpoint /x failed with error code 404 != 200. Response body: '<html>'"),
        MlflowException("API request to endpoint /x failed with error code 400 != 200", INVALID_PARAMETER_VALUE),
        MlflowException("API request to endpoint was successful but the response body was not in a valid JSON format"),
        MlflowException("API request to endpoint /x failed with error code 429 != 200"),
        ConnectionError("reset"),
        KeyError("run"),
    ],
    ids=str,
)  # fmt: skip
def test_what_a_proxy_answers_is_no_refusal(
    store: str, spool: Spool, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def broken(*_: object) -> None:
        raise error

    for index in range(5):
        spool.append(lap(index))
    spool.append(END)
    sender = Sender(spool, store)
    with monkeypatch.context() as patch:
        patch.setattr(senders, "deliver_points", broken)
        sender.send()
    assert not sender.is_done
    assert spool.asides.has(LATER)
    assert not spool.asides.has(REFUSED)
    sender.send()
    assert sender.is_whole
    assert steps_of(store, spool) == list(range(5))


@pytest.mark.parametrize(
    "odd",
    [
        b'["metric","k"]\n',
        b'["metric",{"a":1},1.0,1,2]\n',
        b"[" * 100_000 + b"]" * 100_000 + b"\n",
        b'[["x"],1]\n',
        b'["of-the-future",1]\n',
        b'["artifact","../../secret",1]\n',
        b'["artifact","/etc/passwd",1]\n',
        b'["artifact","home/me/.ssh/id_rsa","/"]\n',
        b"\x00\xff\n",
        b"\n",
    ],
    ids=lambda line: ascii(line[:30]),
)
def test_an_odd_line_is_kept_and_the_rest_is_sent(store: str, spool: Spool, odd: bytes) -> None:
    spool.append(lap(0))
    append_raw(spool, odd)
    spool.append(lap(1))
    spool.append(END)
    sender = Sender(spool, store)
    sender.send()
    assert steps_of(store, spool) == [0, 1]
    assert (sender.is_done, sender.is_whole, sender.refused_count) == (True, False, 1)
    sender.discard()
    assert spool.folder is not None
    assert spool.folder.parent.name == "refused"


@pytest.mark.parametrize("how", ["deleted", "of another store"])
def test_a_run_that_is_gone_is_told_at_once_and_nothing_is_lost(store: str, tmp_path: Path, how: str) -> None:
    run_id = "ab" * 16
    if how == "deleted":
        run_id = MlflowClient(store).create_run("0").info.run_id
        MlflowClient(store).delete_run(run_id)
    spool = Spool.create(tmp_path / "greenlove", new_header(store_uri=store, run_id=run_id, is_ours=True))
    for index in range(3000):
        spool.append(lap(index))
    sender = Sender(spool, store)
    with pytest.raises(RunGoneError, match=run_id):
        sender.send()
    assert sender.request_count < 3
    assert sender.sent_point_count == 0
    assert spool.acknowledged == 0


def test_metrics_are_in_the_store_when_a_batch_counts_as_sent(
    store: str, spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[object] = []
    log_batch = MlflowClient.log_batch

    def spy(self: MlflowClient, *args: Any, **named: Any) -> Any:
        seen.append(named.get("synchronous"))
        return log_batch(self, *args, **named)

    monkeypatch.setattr(MlflowClient, "log_batch", spy)
    for event in (lap(0), ParamsEvent(texts={"a": "1"}), TagsEvent(texts={"b": "2"}), END):
        spool.append(event)
    Sender(spool, store).send()
    assert seen == [True, True, True]


def test_sent_again_from_the_start_nothing_is_doubled(store: str, spool: Spool) -> None:
    for index in range(50):
        spool.append(lap(index))
    spool.append(END)
    Sender(spool, store).send()
    assert spool.folder is not None
    (spool.folder / "ack").write_text("99999999")
    again = Sender(Spool.read(spool.folder), store)
    again.send()
    assert again.is_whole
    assert steps_of(store, spool) == list(range(50))


@pytest.mark.parametrize("kind", ["file", "memory"])
def test_a_spool_is_sent_from_memory_as_from_a_file(store: str, spool: Spool, kind: str) -> None:
    other = spool if kind == "file" else Spool.in_memory(spool.header)
    for index in range(3):
        other.append(lap(index))
    other.append(TagsEvent(texts={"a": "1"}))
    other.append(END)
    sender = Sender(other, store)
    sender.send()
    assert sender.is_whole
    assert steps_of(store, spool) == [0, 1, 2]
