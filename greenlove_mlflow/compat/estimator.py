"""The original's estimator: its parameters, with their documented meaning, on top of this package's pipeline."""

from __future__ import annotations

import dataclasses
import datetime as dt
import logging
import sys
import tempfile
import webbrowser
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

from greenlove_mlflow.compat.original_results import BenchmarkResults, make_results
from greenlove_mlflow.core.account.estimate import Estimate
from greenlove_mlflow.core.energy.power import ASSUMED_UTILIZATION
from greenlove_mlflow.core.offers.compare import Comparison
from greenlove_mlflow.core.provenance import Caveat
from greenlove_mlflow.core.speed.gpu_names import find_gpu
from greenlove_mlflow.core.speed.gpus import Precision
from greenlove_mlflow.environment import read_environment
from greenlove_mlflow.errors import GreenloveError, InvalidInputError
from greenlove_mlflow.files import write_whole
from greenlove_mlflow.pipeline import compare
from greenlove_mlflow.pipeline.estimating import measure_training
from greenlove_mlflow.pipeline.ground import read_ground
from greenlove_mlflow.pipeline.options import make_options
from greenlove_mlflow.pipeline.undertaking import subject_of
from greenlove_mlflow.report import ReportContent, render_report
from greenlove_mlflow.tables import read_gpu_specs, read_price_sheet, read_throughput

logger = logging.getLogger(__name__)

# The two tables that the original lets its user choose between.
_PRECISIONS = ("fp16", "fp32")


class GreenLoveEstimator:
    """The original's estimator.

    Args:
        model: The module to train, on the device it will be trained on.
        optimizer: Its optimizer.
        criterion: The loss.
        train_dataset: The full training dataset.
        total_epochs: Epochs of the planned run, at least 1.
        batch_size: Samples per batch.
        device: ``cuda`` or ``cpu``; the model's device by default.
        train_step: ``train_step(model, batch, optimizer, criterion, device)`` in place of the default step.
        exploration_epochs: Epochs per sample size.
        warmup_epochs: Number of leading epochs modelled separately; fewer than ``exploration_epochs``.
        target_benchmark_time: Seconds that the representative sample size should take.
        initial_sample_size: Samples that exploration starts with.
        single_epoch_budget: Seconds that one exploratory run may take in total.
        country_code: ISO country code; found by environment or time zone by default, never by network.
        carbon_intensity: Grams CO2e per kWh, overrides the table.
        electricity_price: US dollars per kWh, overrides the table.
        electricity_maps_api_key: Key for the current grid by Electricity Maps; without it nothing is requested.
        gpu_name: GPU that the measured times are attributed to in the comparison; a caveat says so.
        gpu_index: NVML index of the board, for a torch that cannot tell which one it trains on.
        manual_tdp_watts: Full power of the training device, where it cannot be metered.
        manual_gpu_utilization: Share of that power assumed, 0 to 1.
        benchmark_task: Published benchmark that speed ratios are taken from; a mean over all by default.
        precision: ``fp16`` or ``fp32``: which published benchmarks to use.
        custom_speedup: Known speed ratios by Crusoe GPU.
        report_dir: Folder for the HTML report.
        auto_open_report: Open the report in a browser. Off by default: a library should not open windows unasked.
        power_poll_interval: Seconds between power samples.

    Raises:
        InvalidInputError: If an argument cannot be used; raised before anything runs.
        UnknownGpuError: If no table contains a named GPU.
    """

    def __init__(  # noqa: PLR0917 - the original's signature, which takes them by position
        self,
        model: Any,
        optimizer: Any,
        criterion: Any,
        train_dataset: Any,
        total_epochs: int,
        batch_size: int = 64,
        device: str | None = None,
        train_step: Callable[..., Any] | None = None,
        exploration_epochs: int = 30,
        warmup_epochs: int = 3,
        target_benchmark_time: float = 10.0,
        initial_sample_size: int = 1000,
        single_epoch_budget: float = 0.3,
        country_code: str | None = None,
        carbon_intensity: float | None = None,
        electricity_price: float | None = None,
        electricity_maps_api_key: str | None = None,
        gpu_name: str | None = None,
        gpu_index: int = 0,
        manual_tdp_watts: float | None = None,
        manual_gpu_utilization: float = ASSUMED_UTILIZATION,
        benchmark_task: str | None = None,
        precision: str = "fp16",
        custom_speedup: Mapping[str, float] | None = None,
        report_dir: str | Path = "./crusoe_reports",
        auto_open_report: bool = False,
        power_poll_interval: float = 1.0,
    ) -> None:
        if precision not in _PRECISIONS:
            raise InvalidInputError(f"precision must be 'fp16' or 'fp32', got {precision!r}")
        if not 0 <= warmup_epochs < exploration_epochs:
            raise InvalidInputError(
                f"warmup_epochs={warmup_epochs} of exploration_epochs={exploration_epochs} leaves no steady epoch to "
                "estimate from; have fewer warm-up epochs"
            )
        speedups = dict(custom_speedup or {})
        self._gpu_id = _check_names(gpu_name, speedups, benchmark_task)
        self._options = make_options(
            total_epochs,
            {
                "batch_size": batch_size,
                "device": device,
                "train_step": train_step,
                "method": "original",
                "plan": {
                    "exploration_epoch_count": exploration_epochs,
                    "warm_up_epoch_count": warmup_epochs,
                    "target_benchmark_s": target_benchmark_time,
                    "initial_sample_count": initial_sample_size,
                    "exploration_budget_s": single_epoch_budget,
                },
                "country": country_code,
                "carbon_intensity_g_per_kwh": carbon_intensity,
                "electricity_price_usd_per_kwh": electricity_price,
                "live_carbon": electricity_maps_api_key is not None,
                "gpu_index": gpu_index or None,
                "tdp_w": manual_tdp_watts,
                "gpu_utilization": manual_gpu_utilization,
                "task": benchmark_task,
                "speed_ratios": speedups,
                "power_poll_interval_s": power_poll_interval,
            },
        )
        self._subject = subject_of(model, optimizer, criterion, train_dataset, options=self._options)
        self._environment = dataclasses.replace(read_environment(), electricity_maps_key=electricity_maps_api_key)
        self._precision = precision
        self._report_dir, self._opens_report = Path(report_dir), auto_open_report
        self._results: BenchmarkResults | None = None
        self._continues = False

    @property
    def results(self) -> BenchmarkResults | None:
        """The results of ``estimate()``; None before it is called."""
        return self._results

    @property
    def user_chose_continue(self) -> bool:
        """Whether to continue training here: the answer on the terminal, True without one, False before an estimate."""
        return self._continues

    def estimate(self) -> BenchmarkResults:
        """Estimate the run here and on each Crusoe GPU, write the report and ask whether to continue.

        Raises:
            InvalidInputError: If the report's folder cannot be written; raised before anything runs.
        """
        _make_folder(self._report_dir)
        ground = read_ground(self._subject.device, self._options, self._environment)
        measured = measure_training(self._subject, self._options, self._environment, ground)
        comparison, local = self._compare(measured.estimate, measured.log.precision)
        page = render_report(ReportContent(estimate=local, comparison=comparison, log=measured.log))
        report_path = _write_report(self._report_dir, page)
        self._results = make_results(
            local, comparison, measured.log, self._options, report_path, precision=self._precision
        )
        if self._opens_report:
            webbrowser.open(report_path.resolve().as_uri())
        self._continues = _ask(local, comparison, report_path)
        return self._results

    def cleanup(self) -> None:
        """Does nothing: every meter is closed when ``estimate()`` returns. Kept for the original's callers."""

    def _compare(self, local: Estimate, computes_in: str) -> tuple[Comparison | None, Estimate]:
        """The comparison and the estimate; None, with a caveat in the estimate, when the tables do not allow one.

        Published benchmarks are those of ``precision``. A CPU or GPU that is in no table has none: it is probed at the
        precision the training actually computes in, and offers are compared at that precision.
        """
        is_known = self._gpu_id is not None or (local.statistics is not None and local.statistics.home is not None)
        precision = cast("Precision", self._precision if is_known else computes_in)
        if precision != computes_in:
            local = _with_caveat(local, Caveat.of("precision-assumed", precision=precision, computes_in=computes_in))
        try:
            ratios = self._options.speed_ratios
            return compare(local, gpu=self._gpu_id, precision=precision, speed_ratios=ratios), local
        except GreenloveError as error:
            return None, _with_caveat(local, Caveat.of("no-comparison", why=str(error)))


def _check_names(gpu_name: str | None, speedups: Mapping[str, float], task: str | None) -> str | None:
    """The specs table's key of ``gpu_name``; an unknown GPU or task is refused before the benchmark starts."""
    offers = {offer.gpu: offer.gpu_id for offer in read_price_sheet().offers}
    keys = {
        name: offers.get(name) or find_gpu(name, read_gpu_specs()).gpu_id
        for name in (*speedups, *([gpu_name] if gpu_name is not None else []))
    }
    tasks = sorted({row.task for row in read_throughput()})
    if task is not None and task not in tasks:
        raise InvalidInputError(f"benchmark_task must be one of {', '.join(tasks)}, got {task!r}")
    return None if gpu_name is None else keys[gpu_name]


def _with_caveat(estimate: Estimate, caveat: Caveat) -> Estimate:
    return dataclasses.replace(estimate, caveats=(*estimate.caveats, caveat))


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise InvalidInputError(
            f"report_dir={str(folder)!r} cannot be written: {error}; name another folder"
        ) from error


def _write_report(folder: Path, page: str) -> Path:
    """Write the page, in full or not at all, and return its path."""
    stamp = dt.datetime.now(tz=dt.timezone.utc).strftime("%Y%m%d_%H%M%S")
    path = folder / f"green_love_report_{stamp}.html"
    write_whole(path, page)
    return path


def _ask(local: Estimate, comparison: Comparison | None, report_path: Path) -> bool:
    """Whether to continue: asked on a terminal after a summary; True without a terminal."""
    if not _has_terminal():
        logger.info("no terminal to ask on: the training continues; the report is %s", report_path)
        return True
    import click

    from greenlove_mlflow.terminal import make_console, print_fitted, print_summary

    console = make_console(stderr=True)
    print_summary(console, local, comparison)
    print_fitted(console, f"Report: {report_path}")
    return click.confirm("Continue training locally?", default=False, err=True)


def _has_terminal() -> bool:
    """Whether both input and output are a terminal, so that a question can be answered."""
    streams = (sys.stdin, sys.stderr)
    return all(stream is not None and not stream.closed and stream.isatty() for stream in streams)
