from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from greenlove_mlflow.files import UnsafePathError
from greenlove_mlflow.tracking.spool import header as headers
from greenlove_mlflow.tracking.spool import spool as spools
from greenlove_mlflow.tracking.spool.asides import LATER, REFUSED, Aside
from greenlove_mlflow.tracking.spool.events import (
    ArtifactEvent,
    EndEvent,
    Event,
    MetricEvent,
    ModelEvent,
    OddLine,
    TagsEvent,
    to_line,
)
from greenlove_mlflow.tracking.spool.header import new_header
from greenlove_mlflow.tracking.spool.recovery import find_spools
from greenlove_mlflow.tracking.spool.spool import ACK, EVENTS, FILES, HEADER, MODEL_FILE, Spool

TAGS = TagsEvent(texts={"a": "ä\n"})
END = EndEvent(status="KILLED", end_ms=5, is_own_end=False)


def a_spool(state: Path, **over: object) -> Spool:
    fields = {"store_uri": "sqlite:////x.db", "run_id": "r1", "is_ours": True, **over}
    return Spool.create(state, new_header(**fields))  # type: ignore[arg-type]


def folder_of(spool: Spool) -> Path:
    assert spool.folder is not None
    return spool.folder


def metric(step: int, key: str = "k") -> MetricEvent:
    return MetricEvent(key=key, value=float(step), timestamp_ms=step, step=step)


def events_of(spool: Spool) -> list[Event | OddLine]:
    return [event for _, event in spool.events()]


def test_events_come_back_in_order_each_with_the_byte_after_it(tmp_path: Path) -> None:
    spool = a_spool(tmp_path / "s")
    for event in (metric(0), TAGS):
        assert spool.append(event) is None
    events = list(Spool.read(folder_of(spool)).events())
    assert [event for _, event in events] == [metric(0), TAGS]
    assert list(spool.events(events[0][0])) == events[1:]
    assert events[-1][0] == spool.size


def test_everything_is_readable_by_its_user_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        spool = a_spool(tmp_path / "s")
        spool.append(TAGS)
        spool.acknowledge(spool.size)
        spool.asides.put(LATER, [Aside(to_line(TAGS), "")])
        spool.asides.put(REFUSED, [Aside(to_line(TAGS), "no")])
        target, _ = spool.new_file("greenlove/plots/x.png")
    finally:
        os.umask(before)
    target.write_bytes(b"x")
    for path in (tmp_path / "s").rglob("*"):
        if path != target:
            assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


def test_a_torn_last_line_is_left_out_and_a_damaged_one_told(tmp_path: Path) -> None:
    spool = a_spool(tmp_path / "s")
    spool.append(TAGS)
    with (folder_of(spool) / EVENTS).open("ab") as file:
        file.write(b'["tags",{"b"\n["metric","k",1.0,')
    tags, odd = events_of(spool)
    assert tags == TAGS
    assert isinstance(odd, OddLine)


def test_a_torn_line_does_not_swallow_the_event_added_after_it(tmp_path: Path) -> None:
    spool = a_spool(tmp_path / "s")
    spool.append(TAGS)
    with (folder_of(spool) / EVENTS).open("ab") as file:
        file.write(b'["metric","k",1.0,')
    again = Spool.read(folder_of(spool))
    again.reopen()
    again.append(END)
    tags, odd, end = events_of(again)
    assert (tags, end) == (TAGS, END)
    assert isinstance(odd, OddLine)


def test_a_line_without_an_end_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spools, "LINE_LIMIT_BYTES", 1000)
    spool = a_spool(tmp_path / "s")
    with (folder_of(spool) / EVENTS).open("ab") as file:
        file.write(b"x" * 5000 + b"\n" + to_line(TAGS))
    odd, tags = events_of(spool)
    assert isinstance(odd, OddLine)
    assert len(odd.line) <= 1000
    assert tags == TAGS


def test_nothing_is_written_after_close(tmp_path: Path) -> None:
    spool = a_spool(tmp_path / "s")
    spool.close()
    spool.append(TAGS)
    assert spool.size == 0


def test_what_was_written_is_still_read_when_somebody_has_removed_the_folder(tmp_path: Path) -> None:
    spool = a_spool(tmp_path / "s")
    spool.append(metric(0))
    shutil.rmtree(tmp_path / "s")
    spool.append(metric(1))
    spool.close()
    assert events_of(spool) == [metric(0), metric(1)]
    assert [event for _, event in spool.events(len(to_line(metric(0))))] == [metric(1)]
    assert spool.size == len(to_line(metric(0))) + len(to_line(metric(1)))


def test_lines_from_many_threads_stay_whole(tmp_path: Path) -> None:
    spool = a_spool(tmp_path / "s")

    def write(series: int) -> None:
        for step in range(300):
            spool.append(metric(step, f"k{series}"))

    threads = [threading.Thread(target=write, args=(series,)) for series in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    events = [event for event in events_of(spool) if isinstance(event, MetricEvent)]
    assert len(events) == 2400
    assert all([event.step for event in events if event.key == f"k{n}"] == list(range(300)) for n in range(8))


def fill_the_disk(monkeypatch: pytest.MonkeyPatch, *, after_bytes: int = 0) -> None:
    """Writes take so many bytes and no more, as on a disk that has no room left."""
    write = os.write

    def full(descriptor: int, content: bytes) -> int:
        if after_bytes:
            return write(descriptor, content[:after_bytes])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(spools.os, "write", full)


@pytest.mark.parametrize("after_bytes", [0, 7])
def test_what_a_full_disk_does_not_take_is_kept_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after_bytes: int
) -> None:
    spool = a_spool(tmp_path / "s")
    spool.append(metric(0))
    with monkeypatch.context() as patch:
        fill_the_disk(patch, after_bytes=after_bytes)
        assert isinstance(spool.append(metric(1)), OSError)
        assert spool.append(metric(2)) is None
    spool.append(TAGS)
    events = list(spool.events())
    assert [event for _, event in events] == [metric(0), metric(1), metric(2), TAGS]
    assert events[-1][0] == spool.size
    assert list(spool.events(events[1][0])) == events[2:]
    assert events_of(Spool.read(folder_of(spool))) == [metric(0)]


def test_what_is_in_memory_and_was_not_sent_is_written_when_there_is_room_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = a_spool(tmp_path / "s")
    with monkeypatch.context() as patch:
        fill_the_disk(patch)
        for step in range(3):
            spool.append(metric(step))
        offset = next(iter(spool.events()))[0]
        assert not spool.keep_rest(offset)
    assert spool.keep_rest(offset)
    assert events_of(Spool.read(folder_of(spool))) == [metric(1), metric(2)]


def test_the_memory_has_a_limit_and_says_what_it_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spools, "MEMORY_COUNT_LIMIT", 5)
    spool = Spool.in_memory(new_header(store_uri="sqlite:////x.db", run_id=None, is_ours=True))
    for step in range(8):
        spool.append(metric(step))
    assert (len(events_of(spool)), spool.forgotten_count) == (5, 3)


def test_a_spool_in_memory_works_as_one_in_a_folder() -> None:
    spool = Spool.in_memory(new_header(store_uri="sqlite:////x.db", run_id=None, is_ours=True))
    spool.append(metric(0))
    spool.set_run_id("r2")
    spool.acknowledge(spool.size)
    spool.asides.put(LATER, [Aside(to_line(TAGS), "")])
    assert spool.asides.has(LATER)
    spool.asides.replace(LATER, [])
    assert not spool.asides.has(LATER)
    assert (spool.header.run_id, spool.lock(), events_of(spool)) == ("r2", True, [metric(0)])
    with pytest.raises(OSError):
        spool.new_file("x")
    spool.remove()


@pytest.mark.parametrize("content", [b"99999", b"-5", b"x", b"", b"3", b"1e3", b"9" * 200])
def test_an_acknowledgement_that_cannot_be_right_sends_all_again(tmp_path: Path, content: bytes) -> None:
    spool = a_spool(tmp_path / "s")
    spool.append(metric(0))
    spool.acknowledge(spool.size)
    assert spool.acknowledged == spool.size
    (folder_of(spool) / ACK).write_bytes(content)
    assert spool.acknowledged == 0


def test_own_process_is_alive_and_a_reused_process_id_is_not(tmp_path: Path) -> None:
    spool = a_spool(tmp_path / "s")
    assert spool.writer_is_alive
    path = folder_of(spool) / HEADER
    path.write_text(json.dumps({**json.loads(path.read_text()), "process_started_at": 1.0}))
    assert not Spool.read(folder_of(spool)).writer_is_alive


def test_a_process_that_has_ended_is_not_alive(tmp_path: Path) -> None:
    code = (
        "from tests.tracking.spool.test_spool import a_spool; from pathlib import Path;"
        f"a_spool(Path({str(tmp_path / 's')!r}))"
    )
    root = Path(__file__).resolve().parents[3]
    subprocess.run([sys.executable, "-c", code], check=True, cwd=root)
    ((spool,), _) = find_spools(tmp_path / "s")
    assert not spool.writer_is_alive


def test_a_spool_of_another_host_counts_as_alive_until_it_was_silent_for_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = a_spool(tmp_path / "s")
    monkeypatch.setattr(headers.socket, "gethostname", lambda: "elsewhere")
    assert spool.writer_is_alive
    long_ago = time.time() - spools.FOREIGN_SILENCE_S - 60.0
    for name in (EVENTS, HEADER):
        os.utime(folder_of(spool) / name, (long_ago, long_ago))
    assert not spool.writer_is_alive


def test_only_one_holder_at_a_time(tmp_path: Path) -> None:
    spool = a_spool(tmp_path / "s")
    other = Spool.read(folder_of(spool))
    assert not other.lock()
    spool.unlock()
    assert other.lock()


def test_a_folder_that_holds_no_spool_of_ours_is_named_and_hides_no_other(tmp_path: Path) -> None:
    good = a_spool(tmp_path / "s")
    root = folder_of(good).parent
    (root / "broken").mkdir()
    (root / "broken" / HEADER).write_text("{")
    (root / "empty").mkdir()
    (root / "linked").symlink_to(root / "empty")
    (root / "header-linked").mkdir()
    (root / "header-linked" / HEADER).symlink_to(folder_of(good) / HEADER)
    (root / "header-twice").mkdir()
    os.link(folder_of(good) / HEADER, root / "header-twice" / HEADER)
    spools_found, odd = find_spools(tmp_path / "s")
    assert {folder.name for folder, _ in odd} >= {"broken", "empty", "header-linked", "header-twice"}
    assert all(reason for _, reason in odd)
    (root / "header-twice" / HEADER).unlink()
    spools_found, _ = find_spools(tmp_path / "s")
    assert [spool.folder for spool in spools_found] == [good.folder]


def test_a_state_folder_that_is_a_link_is_not_used(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "s").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UnsafePathError):
        a_spool(tmp_path / "s")
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_folder_that_cannot_be_made_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError):
        a_spool(tmp_path / "file" / "s")


def test_versions_of_an_artifact_wait_apart(tmp_path: Path) -> None:
    spool = a_spool(tmp_path / "s")
    first, _ = spool.new_file("greenlove/report.html")
    first.write_text("1")
    second, number = spool.new_file("greenlove/report.html")
    second.write_text("2")
    assert first.read_text() == "1"
    assert spool.waiting(ArtifactEvent(path="greenlove/report.html", number=number)) == second
    later, _ = Spool.read(folder_of(spool)).new_file("greenlove/report.html")
    assert later not in (first, second)


def test_a_file_that_was_sent_is_no_longer_there(tmp_path: Path) -> None:
    assert a_spool(tmp_path / "s").waiting(ArtifactEvent(path="greenlove/report.html", number=1)) is None


@pytest.mark.parametrize("how", ["file linked", "folder linked", "second name", "pipe", "folder"])
def test_no_artifact_leads_out_of_the_spool(tmp_path: Path, how: str) -> None:
    secret = tmp_path / "home" / "id_rsa"
    secret.parent.mkdir()
    secret.write_text("PRIVATE KEY")
    spool = a_spool(tmp_path / "s")
    files = folder_of(spool) / FILES
    if how == "folder linked":
        (files / "1").symlink_to(secret.parent)
    else:
        (files / "1").mkdir()
        target = files / "1" / "id_rsa"
        if how == "file linked":
            target.symlink_to(secret)
        elif how == "second name":
            os.link(secret, target)
        elif how == "pipe":
            os.mkfifo(target)
        else:
            target.mkdir()
    with pytest.raises(OSError):
        spool.waiting(ArtifactEvent(path="id_rsa", number=1))
    assert secret.read_text() == "PRIVATE KEY"


def test_what_waits_outside_the_spool_is_gone_with_it(tmp_path: Path) -> None:
    spool = a_spool(tmp_path / "s")
    target = spool.scratch_file("greenlove/report.html")
    target.write_text("page")
    assert stat.S_IMODE(target.parent.parent.parent.stat().st_mode) == 0o700
    assert spool.waiting(ArtifactEvent(path="greenlove/report.html", number=0, waits_at=target)) == target
    spool.remove()
    assert not target.exists()


def test_a_model_waits_under_its_own_name(tmp_path: Path) -> None:
    spool = a_spool(tmp_path / "s")
    target, number = spool.new_file(MODEL_FILE)
    target.write_text("{}")
    assert spool.waiting(ModelEvent(number=number)) == target


def test_what_was_set_aside_comes_back_with_its_reason(tmp_path: Path) -> None:
    spool = a_spool(tmp_path / "s")
    spool.asides.put(REFUSED, [Aside(to_line(TAGS), "no such thing"), Aside(b"\xff torn\n", "no JSON")])
    tags, torn = spool.asides.read(REFUSED)
    assert (tags.line, tags.reason, torn.reason) == (to_line(TAGS), "no such thing", "no JSON")
    moved = spool.move("refused")
    assert moved is not None
    assert [each.reason for each in Spool.read(moved).asides.read(REFUSED)] == ["no such thing", "no JSON"]
