"""Stores and disks that fail while a training is kept: nothing raises, nothing is lost while the store answers.

    python reports/faults_store.py [--quick]

The first part opens a run on servers whose health check answers and whose API does not: within seconds the run is
offline, or refused in words where somebody has to act. The second keeps a training of eight epochs whose disk or store
fails at some point: all of it arrives at once or by ``recover``, and the run is FINISHED.
"""

from __future__ import annotations

import http.server
import os
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "reports")]

from faults_count import Count  # noqa: E402

from greenlove_mlflow.errors import TrackingError  # noqa: E402
from greenlove_mlflow.tracking import open_run  # noqa: E402
from greenlove_mlflow.tracking.spool import run_events  # noqa: E402
from greenlove_mlflow.tracking.spool import sender as senders  # noqa: E402
from greenlove_mlflow.tracking.spool import spool as spools  # noqa: E402
from greenlove_mlflow.tracking.spool import writer as writers  # noqa: E402
from greenlove_mlflow.tracking.spool.recovery import recover  # noqa: E402

EPOCHS, ENTRY_LIMIT_S, SECRET = 8, 15.0, "SECRETPW"
KEY = "green/train/epoch_s"
# Status, body and whether somebody has to act before a training can be kept there.
ANSWERS: dict[str, tuple[int, bytes, bool | None]] = {
    "500": (500, b"", False),
    "503 as HTML": (503, b"<html>down</html>", False),
    "429": (429, b"", False),
    "500 as JSON": (500, b'{"error_code":"INTERNAL_ERROR","message":"database"}', False),
    "closes": (0, b"", False),
    "hangs": (-1, b"", False),
    "404": (404, b"not here", None),
    "413": (413, b"", None),
    "401": (401, b"log in", True),
    "403": (403, b'{"error_code":"PERMISSION_DENIED","message":"no"}', True),
    "a login page": (200, b"<html>log in \x1b[31m</html>", None),
    "garbage": (200, b"\x00\xff garbage", None),
    "other JSON": (200, b'{"a":1}', None),
}


@contextmanager
def server(status: int, body: bytes) -> Iterator[str]:
    """A server whose health check answers and whose API answers this."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            code, text = (200, b"OK") if self.path.startswith("/health") else (status, body)
            if code == -1:
                time.sleep(20.0)
            if code <= 0:
                self.close_connection = True
                self.connection.close()
                return
            self.send_response(code)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        do_GET = do_POST = do_PUT = do_PATCH = answer  # noqa: N815 - the names of http.server

        def log_message(self, *args: object) -> None: ...

    it = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    it.daemon_threads = True
    threading.Thread(target=it.serve_forever, daemon=True).start()
    try:
        yield f"http://user:{SECRET}@127.0.0.1:{it.server_port}"
    finally:
        it.shutdown()


def try_entry(name: str, state: Path) -> str:
    """What goes wrong at the start of a training on such a server; empty when nothing does."""
    import mlflow

    status, body, must_act = ANSWERS[name]
    with server(status, body) as uri, warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        mlflow.set_tracking_uri(uri)
        began_s = time.perf_counter()
        try:
            run = open_run(state=state)
        except TrackingError as error:
            words, refused = f"{error} {error.__cause__} {error.__context__ if error.__cause__ else ''}", True
        except BaseException as error:  # noqa: BLE001 - what escapes is what is looked for
            return f"raises {type(error).__name__}"
        else:
            words, refused = "", False
            if not run.is_offline:
                return "is called online"
            run.close()
        took_s = time.perf_counter() - began_s
        words += " ".join(str(each.message) for each in said)
    if SECRET in words or "\x1b" in words:
        return f"shows what it should not: {ascii(words)[:80]}"
    if must_act is not None and refused is not must_act:
        return "is refused" if refused else "is taken for passing trouble"
    if mlflow.active_run() is not None:
        return "leaves a run active"
    return "" if took_s < ENTRY_LIMIT_S else f"takes {took_s:.0f} s"


def full_disk(*_: object, **__: object) -> int:
    raise OSError(28, "No space left on device")


def broken(*_: object, **__: object) -> None:
    raise ConnectionError("the store is restarted")


Fault = Callable[[ExitStack], None]


def training_faults() -> dict[str, tuple[int, int, Fault]]:
    """By name: the epochs from which and before which a fault lasts, and what it does."""

    def disk(stack: ExitStack) -> None:
        stack.enter_context(mock.patch.object(spools.os, "write", full_disk))

    def points(stack: ExitStack) -> None:
        stack.enter_context(mock.patch.object(senders, "deliver_points", broken))

    def events(stack: ExitStack) -> None:
        stack.enter_context(mock.patch.object(senders, "deliver", broken))

    def down(stack: ExitStack) -> None:
        stack.enter_context(mock.patch.object(senders, "is_reachable", return_value=False))

    def files(stack: ExitStack) -> None:
        stack.enter_context(mock.patch.object(spools.Spool, "new_file", full_disk))

    kinds = {"disk full": disk, "points fail": points, "events fail": events, "store down": down, "no files": files}
    spans = {"for a while": (2, 5), "from the middle on": (4, EPOCHS), "from the start": (0, EPOCHS)}
    return {f"{kind}, {span}": (*between, fault) for kind, fault in kinds.items() for span, between in spans.items()}


def try_training(store: str, state: Path, first: int, last: int, fault: Fault) -> str:
    """What is missing of a training during which something failed; empty when nothing is."""
    import mlflow
    from mlflow import MlflowClient

    mlflow.set_tracking_uri(store)
    with warnings.catch_warnings(), ExitStack() as trouble:
        warnings.simplefilter("ignore")
        with open_run(state=state) as run:
            for epoch in range(EPOCHS):
                if epoch == first:
                    fault(trouble)
                if epoch == last:
                    trouble.close()
                run.log_epoch(epoch, 1.0 + epoch, 100.0, None)
                run._writer._round(retry=False)  # type: ignore[union-attr]  # what it does every five seconds
            run.tags({"outcome": "whole"})
        trouble.close()
        results = list(recover(state, store_uri=store))
    client = MlflowClient(store)
    kept = client.get_run(str(run.run_id))
    steps = sorted(point.step for point in client.get_metric_history(str(run.run_id), KEY))
    if steps != list(range(EPOCHS)):
        return f"epochs {steps}"
    if kept.info.status != "FINISHED" or kept.data.tags.get("outcome") != "whole":
        return f"{kept.info.status}, outcome {kept.data.tags.get('outcome')}"
    return "" if all(result.is_sent for result in results) else f"left: {[each.fate for each in results]}"


def campaign(*, quick: bool = False) -> list[Count]:
    """Both parts; ``quick`` takes some of each."""
    entries, trainings = Count("servers whose API fails at entry"), Count("disks and stores that fail in a training")
    patches = mock.patch.multiple(writers, CLOSE_DEADLINE_S=1, CLOSE_LIMIT_S=20)
    quiet = mock.patch.dict(os.environ, {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3"})
    with tempfile.TemporaryDirectory() as scratch, patches, quiet:
        for number, name in enumerate(list(ANSWERS)[:: 6 if quick else 1]):
            entries.add(name, try_entry(name, Path(scratch) / f"entry-{number}" / "greenlove"))
        store = f"sqlite:///{scratch}/mlflow.db"
        for number, (name, case) in enumerate(list(training_faults().items())[:: 5 if quick else 1]):
            trainings.add(name, try_training(store, Path(scratch) / f"training-{number}" / "greenlove", *case))
        with mock.patch.object(run_events.tempfile, "mkdtemp", full_disk):
            (Path(scratch) / "file").write_text("")
            state = Path(scratch) / "file" / "greenlove"
            trainings.add("no writable folder", try_training(store, state, EPOCHS, EPOCHS, lambda stack: None))
    return [entries, trainings]


def main() -> int:
    counts: list[Any] = campaign(quick="--quick" in sys.argv)
    for count in counts:
        print("\n".join(count.wrong))
        print(f"{count.part}: {count.tried} tried, {count.right} right, {len(count.wrong)} wrong")
    return any(count.wrong for count in counts)


if __name__ == "__main__":
    sys.exit(main())
