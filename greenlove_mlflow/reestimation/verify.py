"""Verifies a run's downloaded Parquet facts against their own metadata and the run's tag."""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from greenlove_mlflow.errors import RunDataError
from greenlove_mlflow.stored.pages import StoredFacts
from greenlove_mlflow.tables import read_parquet_metadata
from greenlove_mlflow.tracking.artifacts import read_log
from greenlove_mlflow.tracking.names import ARTIFACT_BENCHMARK
from greenlove_mlflow.tracking.spool.mlflow_store import without_progress_bars

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from greenlove_mlflow.core.records import BenchmarkLog


def verify_facts(client: MlflowClient, facts: StoredFacts) -> None:
    """Verify that a run's benchmark log exists, is unchanged and is the one that its facts were made from.

    Raises:
        RunDataError: If not; the message says what differs.
    """
    from mlflow.exceptions import MlflowException

    with tempfile.TemporaryDirectory(prefix="greenlove-verify-") as folder:
        try:
            with without_progress_bars():
                path = Path(client.download_artifacts(facts.run_id, ARTIFACT_BENCHMARK, folder))
        except (MlflowException, OSError) as error:
            raise RunDataError(f"{ARTIFACT_BENCHMARK} cannot be read: {str(error).splitlines()[0]}") from error
        try:
            _check_digest(path)
            _check_origin(read_log(path), facts)
        except (pa.ArrowException, OSError, ValueError) as error:
            raise RunDataError(f"{ARTIFACT_BENCHMARK} is broken: {str(error).splitlines()[0]}") from error


def _check_digest(path: Path) -> None:
    stated = read_parquet_metadata(path).get("greenlove.sha256")
    content = pq.read_table(path).to_pandas().to_csv(index=False).encode()
    found = hashlib.sha256(content).hexdigest()
    if stated != found:
        raise RunDataError(
            f"the rows of {ARTIFACT_BENCHMARK} have sha256 {found[:12]}..., its schema states {(stated or 'none')[:12]}"
        )


def _check_origin(log: BenchmarkLog, facts: StoredFacts) -> None:
    statistics = facts.statistics
    pairs = {
        "machine": (log.machine.fingerprint, statistics.machine.fingerprint),
        "batch size": (log.batch_size, statistics.workload.batch_size),
        "samples": (log.sample_count, statistics.fit.sample_count),
        "method": (log.method, statistics.fit.method),
    }
    for name, (of_log, of_tag) in pairs.items():
        if of_log != of_tag:
            raise RunDataError(f"{ARTIFACT_BENCHMARK} has {name} {of_log!r}, the run's statistics {of_tag!r}")
