from __future__ import annotations

import json

import pytest

from greenlove_mlflow.tracking.spool.events import (
    LINE_LIMIT_BYTES,
    ArtifactEvent,
    EndEvent,
    Event,
    ExperimentTagsEvent,
    InputsEvent,
    LapEvent,
    MetricEvent,
    ModelEvent,
    OddLineError,
    ParamsEvent,
    PowerEvent,
    TagsEvent,
    from_line,
    to_line,
)

EVENTS: list[Event] = [
    MetricEvent(key="green/train/epoch_s", value=1.5, timestamp_ms=1000, step=0),
    PowerEvent(device="gpu_0", at_s=0.1, power_w=300.0, timestamp_ms=1000, step=7),
    LapEvent(index=3, duration_s=2.0, energy_j=None, forecast_s=(3.0, 2.0, 4.0), timestamp_ms=1000),
    LapEvent(index=3, duration_s=2.0, energy_j=5.0, forecast_s=None, timestamp_ms=1000, is_epoch=False),
    ParamsEvent(texts={"green.epochs": "3"}),
    TagsEvent(texts={"a": "ä\n\x1b"}),
    ExperimentTagsEvent(texts={}),
    InputsEvent(
        inputs=({"dataset": {"name": "x", "source": "y", "schema": None}, "context": "prices", "tags": {"a": "b"}},)
    ),
    ArtifactEvent(path="greenlove/report.html", number=1),
    ArtifactEvent(path="greenlove/estimates.json", number=2, is_table=True),
    ModelEvent(number=3),
    EndEvent(status="FINISHED", end_ms=5, is_own_end=True),
    EndEvent(status=None, end_ms=5, is_own_end=False),
    EndEvent(status="KILLED", end_ms=5, is_own_end=False, note="3 of 9 epochs ran"),
]


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
def test_an_event_comes_back_as_it_was(event: Event) -> None:
    line = to_line(event)
    assert line.count(b"\n") == 1
    assert from_line(line) == event


ODD_LINES = [
    b"\n",
    b"{\n",
    b"null\n",
    b"1\n",
    b'"metric"\n',
    b"[]\n",
    b"[1]\n",
    b'[["x"],1]\n',
    b'{"metric":1}\n',
    b"[" * 100_000 + b"]" * 100_000 + b"\n",
    b"\xff\xfe\n",
    b'["metric","k"]\n',
    b'["metric","k",1.0,1,2,3]\n',
    b'["metric",{"a":1},1.0,1,2]\n',
    b'["metric","k","1",1,2]\n',
    b'["metric","k",true,1,2]\n',
    b'["metric","k",null,1,2]\n',
    b'["metric","k",1.0,-1,2]\n',
    b'["metric","k",1.0,1.5,2]\n',
    b'["metric","k",1.0,1,' + b"9" * 40 + b"]\n",
    b'["metric","k",' + b"9" * 400 + b",1,2]\n",
    b'["metric","' + b"k" * 2000 + b'",1.0,1,2]\n',
    b'["power","gpu_0",1,[],1,2]\n',
    b'["lap",-1,1.0,null,null,1,true]\n',
    b'["lap",0,1.0,null,[1,2],1,true]\n',
    b'["lap",0,1.0,null,"abc",1,true]\n',
    b'["tags",["a"]]\n',
    b'["tags",{"a":1}]\n',
    b'["params",null]\n',
    b'["inputs",{"dataset":1}]\n',
    b'["inputs",[{"dataset":{"name":"x","evil":"y"},"context":"c","tags":{}}]]\n',
    b'["inputs",[null]]\n',
    b'["artifact","home/me/.ssh/id_rsa","/"]\n',
    b'["artifact","/etc/passwd",1]\n',
    b'["artifact","../../x",1]\n',
    b'["artifact","a/../../x",1]\n',
    b'["artifact","a//b",1]\n',
    b'["artifact","",1]\n',
    b'["artifact","a\\u0000b",1]\n',
    b'["artifact","a",0]\n',
    b'["artifact","a",-1]\n',
    b'["artifact","a",true]\n',
    b'["artifact","a","../1"]\n',
    b'["model","/"]\n',
    b'["end","DONE",1,true]\n',
    b'["end","FINISHED",1,1]\n',
    b'["end",["FINISHED"],1,true]\n',
    b'["end"]\n',
    b'["of-the-future",1,2,3]\n',
]


@pytest.mark.parametrize("line", ODD_LINES, ids=lambda line: ascii(line[:40]))
def test_a_line_that_is_no_event_is_told_as_one(line: bytes) -> None:
    with pytest.raises(OddLineError):
        from_line(line)


def test_the_reason_names_the_kind_of_a_newer_release() -> None:
    with pytest.raises(OddLineError, match="'of-the-future'"):
        from_line(b'["of-the-future",1]\n')


def test_a_line_that_breaks_off_or_never_ends_is_odd() -> None:
    with pytest.raises(OddLineError, match="breaks off"):
        from_line(b'["tags",{}]')
    with pytest.raises(OddLineError, match="too long"):
        from_line(json.dumps(["tags", {"a": "x" * LINE_LIMIT_BYTES}]).encode() + b"\n")
