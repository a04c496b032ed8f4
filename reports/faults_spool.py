"""Spools as crashes, disks and other people leave them: what can be read is sent, the rest kept and named.

    python reports/faults_spool.py [--quick]

Each case is one odd spool before a healthy one; ``recover`` must send the healthy one whole, send of the odd one what
can be read, lose nothing of what it does not send, and touch nothing outside the spool.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "reports")]

from faults_count import Count  # noqa: E402

from greenlove_mlflow.tracking.spool.events import EndEvent, MetricEvent, to_line  # noqa: E402
from greenlove_mlflow.tracking.spool.header import new_header  # noqa: E402
from greenlove_mlflow.tracking.spool.recovery import recover, refused_spools  # noqa: E402
from greenlove_mlflow.tracking.spool.spool import Spool  # noqa: E402

KEY, POINTS = "green/train/epoch_s", 5
Spoil = Callable[[Path, Path], None]

ODD_LINES = (
    b'["metric","k"]', b'["metric",{"a":1},1.0,1,2]', b"[" * 100_000 + b"]" * 100_000, b'[["x"],1]', b"{}", b"null",
    b'["of-the-future",1,2]', b'["artifact","../../secret",1]', b'["artifact","/etc/passwd",1]',
    b'["artifact","home/me/.ssh/id_rsa","/"]', b'["end","DONE",1,true]', b'["tags",{"a":1}]', b"\x00\xff\xfe",
    b'["metric","' + b"k" * 5000 + b'",1,1,1]', b'["power","gpu_0",1,[],1,2]', b'["inputs",[{"dataset":1}]]',
)  # fmt: skip
ODD_HEADERS = (
    "", "{", "[]", "null", "\x00\x01", '{"spool_id":"x"}', "[" * 100_000,
)  # fmt: skip
ODD_FIELDS = {
    "run_id": "../../x", "spool_id": "a' or '1'='1", "pid": -1, "created_ms": 10**400, "store_uri": ["x"],
    "tags": {"a": 1}, "parents": "abc", "is_ours": "yes",
}  # fmt: skip
ODD_ACKS = ("99999999", "-5", "x", "", "3", "9" * 200)


def line_case(line: bytes) -> Spoil:
    def spoil(folder: Path, home: Path) -> None:
        events = folder / "events.jsonl"
        lines = events.read_bytes().splitlines(keepends=True)
        events.write_bytes(b"".join([*lines[:2], line + b"\n", *lines[2:]]))

    return spoil


def header_case(text: str) -> Spoil:
    return lambda folder, home: (folder / "header.json").write_text(text)  # type: ignore[return-value]


def field_case(name: str, value: object) -> Spoil:
    def spoil(folder: Path, home: Path) -> None:
        content = json.loads((folder / "header.json").read_text())
        (folder / "header.json").write_text(json.dumps({**content, name: value}))

    return spoil


def ack_case(text: str) -> Spoil:
    return lambda folder, home: (folder / "ack").write_text(text)  # type: ignore[return-value]


def link_case(name: str, how: str) -> Spoil:
    """A file of the spool that is a link to one of the user's, another name of it, a pipe or a folder."""

    def spoil(folder: Path, home: Path) -> None:
        target = folder / name
        target.unlink(missing_ok=True)
        if how == "link":
            target.symlink_to(home / "id_rsa")
        elif how == "hard link":
            os.link(home / "id_rsa", target)
        elif how == "pipe":
            os.mkfifo(target)
        else:
            target.mkdir()

    return spoil


def artifact_case(how: str) -> Spoil:
    """An artifact that waits by way of a link out of the spool."""

    def spoil(folder: Path, home: Path) -> None:
        files = folder / "files"
        if how == "folder":
            (files / "1").symlink_to(home)
        else:
            (files / "1").mkdir()
            (files / "1" / "id_rsa").symlink_to(home / "id_rsa") if how == "link" else os.link(
                home / "id_rsa", files / "1" / "id_rsa"
            )
        line_case(b'["artifact","id_rsa",1]')(folder, home)

    return spoil


def cases() -> dict[str, tuple[Spoil, bool]]:
    """Every case, and whether the odd spool's own points must arrive."""
    found: dict[str, tuple[Spoil, bool]] = {}
    for line in ODD_LINES:
        found[f"line {line[:30]!a}"] = (line_case(line), True)
    for text in ODD_HEADERS:
        found[f"header {text[:20]!a}"] = (header_case(text), False)
    for name, value in ODD_FIELDS.items():
        found[f"header field {name}"] = (field_case(name, value), False)
    found["header of a newer release"] = (field_case("of_the_future", {"a": 1}), True)
    for text in ODD_ACKS:
        found[f"ack {text[:20]!a}"] = (ack_case(text), True)
    for name in ("header.json", "events.jsonl", "ack", "later.jsonl", "lock"):
        for how in ("link", "hard link", "pipe", "folder"):
            found[f"{name} is a {how}"] = (link_case(name, how), name == "ack")
    for how in ("link", "hard link", "folder"):
        found[f"artifact by a {how}"] = (artifact_case(how), True)
    return found


def count_spools(*, quick: bool = False) -> Count:
    """Every odd spool through ``recover``; ``quick`` takes every sixth."""
    count = Count("spools that are damaged, foreign, newer or planted")
    with tempfile.TemporaryDirectory() as scratch:
        store = f"sqlite:///{scratch}/mlflow.db"
        for number, (name, (spoil, must_arrive)) in enumerate(list(cases().items())[:: 6 if quick else 1]):
            base = Path(scratch) / str(number)
            base.mkdir()
            count.add(name, _try(base, store, spoil, must_arrive=must_arrive))
    return count


def _try(base: Path, store: str, spoil: Spoil, *, must_arrive: bool) -> str:
    from mlflow import MlflowClient

    client, home = MlflowClient(store), base / "home"
    home.mkdir()
    (home / "id_rsa").write_text("PRIVATE KEY")
    odd_id, good_id = (str(client.create_run("0").info.run_id) for _ in range(2))
    odd, good = _make(base, store, odd_id, 1), _make(base, store, good_id, 2)
    spoil(odd, home)
    size = sum(path.lstat().st_size for path in odd.rglob("*"))
    try:
        results = list(recover(base / "greenlove", store_uri=store))
    except BaseException as error:  # noqa: BLE001 - what escapes is what is looked for
        return f"recover raises {type(error).__name__}: {str(error)[:80]}"
    if len(client.get_metric_history(good_id, KEY)) != POINTS or good.exists():
        return "the healthy spool was not sent"
    if (home / "id_rsa").read_text() != "PRIVATE KEY" or _was_sent(client, odd_id):
        return "a file of the user's was touched"
    arrived = len(client.get_metric_history(odd_id, KEY))
    if must_arrive and arrived != POINTS:
        return f"{arrived} of {POINTS} points of the odd one arrived"
    is_kept = odd.exists() or any(folder.name == odd.name for folder in refused_spools(base / "greenlove"))
    if arrived != POINTS and not (is_kept and size):
        return "the odd spool is gone and not sent"
    told = {result.folder.name for result in results if result.fate != "sent"}
    return "" if odd.name in told or not is_kept else "the odd spool is kept and nobody is told"


def _was_sent(client: object, run_id: str) -> bool:
    return any(each.path.endswith("id_rsa") for each in client.list_artifacts(run_id))  # type: ignore[attr-defined]


def _make(base: Path, store: str, run_id: str, created_ms: int) -> Path:
    """A spool whose process is gone, five points and an end in it."""
    spool = Spool.create(base / "greenlove", new_header(store_uri=store, run_id=run_id, is_ours=True))
    assert spool.folder is not None
    for step in range(POINTS):
        spool.append(MetricEvent(key=KEY, value=1.0, timestamp_ms=1000 + step, step=step))
    spool.append(EndEvent(status="FINISHED", end_ms=5000, is_own_end=True))
    spool.close()
    spool.unlock()
    content = json.loads((spool.folder / "header.json").read_text())
    gone = {**content, "process_started_at": 1.0, "created_ms": created_ms}
    (spool.folder / "header.json").write_text(json.dumps(gone))
    assert (spool.folder / "events.jsonl").read_bytes().startswith(to_line(
        MetricEvent(key=KEY, value=1.0, timestamp_ms=1000, step=0)
    ))  # fmt: skip
    return spool.folder


if __name__ == "__main__":
    found = count_spools(quick="--quick" in sys.argv)
    print("\n".join(found.wrong))
    print(f"{found.part}: {found.tried} tried, {found.right} right, {len(found.wrong)} wrong")
    sys.exit(bool(found.wrong))
