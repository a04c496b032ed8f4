from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path

import pytest

from greenlove_mlflow.tracking.spool import header as headers
from greenlove_mlflow.tracking.spool import spool as kinds
from greenlove_mlflow.tracking.spool.header import new_header, spool_root, state_folder
from greenlove_mlflow.tracking.spool.spool import Spool, find_spools
from greenlove_mlflow.tracking.spool.thinning import FULL_COUNT, Point, Thinner


def a_spool(root: Path, **over: object) -> Spool:
    return Spool.create(root, new_header(**{"store_uri": "sqlite:////x.db", "run_id": "r1", "is_ours": True, **over}))


def test_events_come_back_in_order_each_with_the_byte_after_it(tmp_path: Path) -> None:
    spool = a_spool(tmp_path)
    spool.append(kinds.METRIC, "green/train/epoch_s", 1.5, 1000, 0)
    spool.append(kinds.TAGS, {"a": "ä\n"})
    events = list(Spool.read(spool.folder).events())
    assert [event for _, event in events] == [
        (kinds.METRIC, "green/train/epoch_s", 1.5, 1000, 0),
        ("tags", {"a": "ä\n"}),
    ]
    assert list(spool.events(events[0][0])) == events[1:]
    assert events[-1][0] == spool.size


def test_a_torn_last_line_is_ignored_and_a_damaged_one_passed_over(tmp_path: Path) -> None:
    spool = a_spool(tmp_path)
    spool.append(kinds.TAGS, {"a": "1"})
    with (spool.folder / kinds.EVENTS).open("ab") as file:
        file.write(b'["tags",{"b"\n["metric","k",1.0,')
    assert [event for _, event in spool.events()] == [("tags", {"a": "1"})]


def test_a_torn_line_does_not_swallow_the_event_added_after_it(tmp_path: Path) -> None:
    spool = a_spool(tmp_path)
    spool.append(kinds.TAGS, {"a": "1"})
    with (spool.folder / kinds.EVENTS).open("ab") as file:
        file.write(b'["metric","k",1.0,')
    again = Spool.read(spool.folder)
    again.reopen()
    again.append(kinds.END, "KILLED", 5, False)
    assert [event[0] for _, event in again.events()] == [kinds.TAGS, kinds.END]


def test_nothing_is_written_after_close(tmp_path: Path) -> None:
    spool = a_spool(tmp_path)
    spool.close()
    spool.append(kinds.TAGS, {"a": "1"})
    assert spool.size == 0


def test_lines_from_many_threads_stay_whole(tmp_path: Path) -> None:
    import threading

    spool = a_spool(tmp_path)

    def write(series: int) -> None:
        for step in range(300):
            spool.append(kinds.METRIC, f"k{series}", float(step), step, step)

    threads = [threading.Thread(target=write, args=(series,)) for series in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    events = [event for _, event in spool.events()]
    assert len(events) == 2400
    assert all([event[4] for event in events if event[1] == f"k{n}"] == list(range(300)) for n in range(8))


def test_own_process_is_alive_and_a_reused_process_id_is_not(tmp_path: Path) -> None:
    spool = a_spool(tmp_path)
    assert spool.writer_is_alive
    content = json.loads((spool.folder / kinds.HEADER).read_text())
    (spool.folder / kinds.HEADER).write_text(json.dumps({**content, "process_started_at": 1.0}))
    assert not Spool.read(spool.folder).writer_is_alive


def test_a_process_that_has_ended_is_not_alive(tmp_path: Path) -> None:
    code = (
        "import sys; sys.path.insert(0, '.'); from pathlib import Path;"
        "from tests.tracking.spool.test_spool import a_spool;"
        f"a_spool(Path({str(tmp_path)!r}))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    (spool,) = find_spools(tmp_path)
    assert not spool.writer_is_alive


def test_a_spool_of_another_host_counts_as_alive_until_it_was_silent_for_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = a_spool(tmp_path)
    monkeypatch.setattr(headers.socket, "gethostname", lambda: "elsewhere")
    assert spool.writer_is_alive
    long_ago = time.time() - kinds.FOREIGN_SILENCE_S - 60.0
    for name in (kinds.EVENTS, kinds.HEADER):
        os.utime(spool.folder / name, (long_ago, long_ago))
    assert not spool.writer_is_alive


def test_only_one_holder_at_a_time(tmp_path: Path) -> None:
    spool = a_spool(tmp_path)
    other = Spool.read(spool.folder)
    assert not other.lock()
    spool.unlock()
    assert other.lock()


def test_a_broken_header_hides_no_other_spool(tmp_path: Path) -> None:
    a_spool(tmp_path)
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / kinds.HEADER).write_text("{")
    (tmp_path / "empty").mkdir()
    assert len(find_spools(tmp_path)) == 1


def test_a_state_folder_that_cannot_be_written_gives_way_to_the_temporary_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    (tmp_path / "file").write_text("")
    spool = a_spool(tmp_path / "file" / "state")
    assert spool.folder.is_relative_to(tmp_path / "tmp")


def test_state_lies_where_the_user_says_or_where_the_platform_puts_it() -> None:
    assert state_folder({"XDG_STATE_HOME": "/s"}) == Path("/s")
    assert spool_root(Path("/s")) == Path("/s/greenlove/spool")
    assert state_folder({}).is_relative_to(Path.home())


def test_versions_of_an_artifact_wait_apart(tmp_path: Path) -> None:
    spool = a_spool(tmp_path)
    first, _ = spool.new_file("greenlove/report.html")
    first.write_text("1")
    second, number = spool.new_file("greenlove/report.html")
    second.write_text("2")
    assert first.read_text() == "1"
    assert spool.file("greenlove/report.html", number) == second
    later, _ = Spool.read(spool.folder).new_file("greenlove/report.html")
    assert later not in (first, second)


def thinned(count: int, key: str) -> list[Point]:
    thinner = Thinner()
    points = [
        point
        for step in range(count)
        if (point := thinner.add(Point(key=key, value=float(step), timestamp_ms=step, step=step)))
    ]
    return points + thinner.rest()


def test_a_short_series_is_kept_whole() -> None:
    assert [point.step for point in thinned(FULL_COUNT, "green/train/epoch_s")] == list(range(FULL_COUNT))


def test_a_week_of_power_becomes_two_thousand_points_with_the_same_mean() -> None:
    count = 600_000
    points = thinned(count, "system/greenlove/gpu_0_power_w")
    assert len(points) < 2000
    assert [point.step for point in points] == sorted({point.step for point in points})
    widths = [b.step - a.step for a, b in pairwise(points)]
    mean = (points[0].value + sum(p.value * w for p, w in zip(points[1:], widths, strict=True))) / count
    assert mean == pytest.approx((count - 1) / 2)


def test_the_last_sample_of_a_series_is_always_there() -> None:
    assert thinned(54_321, "green/train/epoch_s")[-1].value == 54_320.0


def test_thinning_the_same_series_again_gives_the_same_points() -> None:
    assert thinned(20_000, "system/greenlove/gpu_0_power_w") == thinned(20_000, "system/greenlove/gpu_0_power_w")
