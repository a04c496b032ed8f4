from __future__ import annotations

import json

import pytest

from greenlove_mlflow.tracking.spool.header import Header, OddHeaderError, new_header

RIGHT = json.loads(new_header(store_uri="http://host:5000", run_id="ab" * 16, is_ours=True).to_json())


def test_a_header_comes_back_as_it_was() -> None:
    header = new_header(store_uri="http://host:5000", run_id=None, is_ours=False, tags={"a": "b"}, parents=["x"])
    assert Header.from_json(header.to_json()) == header


def test_what_a_newer_release_says_more_is_kept() -> None:
    header = Header.from_json(json.dumps({**RIGHT, "priority": [1, 2]}))
    assert header.run_id == RIGHT["run_id"]
    assert json.loads(header.to_json())["priority"] == [1, 2]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("spool_id", ""), ("spool_id", "../x"), ("spool_id", "a' or '1'='1"), ("spool_id", 5),
        ("store_uri", ""), ("store_uri", None), ("store_uri", ["http://x"]),
        ("run_id", ""), ("run_id", "../../x"), ("run_id", 1), ("run_id", "a?b"),
        ("is_ours", "yes"), ("is_ours", None),
        ("pid", -1), ("pid", 0), ("pid", 2**40), ("pid", "1"), ("pid", True), ("pid", 1.5),
        ("process_started_at", "now"), ("process_started_at", float("nan")), ("process_started_at", -1.0),
        ("host", None), ("host", ["x"]),
        ("created_ms", "x"), ("created_ms", -1), ("created_ms", 10**400), ("created_ms", 1.5),
        ("experiment_id", "a/b"), ("experiment_name", 5), ("run_name", {}),
        ("tags", ["a"]), ("tags", {"a": 1}), ("tags", None),
        ("parents", "abc"), ("parents", [1]), ("parents", ["../x"]),
    ],
)  # fmt: skip
def test_an_odd_field_is_named(name: str, value: object) -> None:
    with pytest.raises(OddHeaderError, match=name):
        Header.from_json(json.dumps({**RIGHT, name: value}))


@pytest.mark.parametrize("name", ["spool_id", "store_uri", "run_id", "is_ours", "pid", "host", "created_ms"])
def test_a_header_without_a_field_is_none(name: str) -> None:
    with pytest.raises(OddHeaderError, match="lacks"):
        Header.from_json(json.dumps({key: value for key, value in RIGHT.items() if key != name}))


@pytest.mark.parametrize("text", ["", "{", "[]", "1", "null", '"x"', "\x00\x01", "[" * 100_000, '{"a":' * 50_000])
def test_what_is_no_json_object_is_no_header(text: str) -> None:
    with pytest.raises(OddHeaderError):
        Header.from_json(text)


def test_bytes_that_are_no_text_are_no_header() -> None:
    with pytest.raises(OddHeaderError):
        Header.from_json(b"\xff\xfe\x00{")
