"""Figures of a benchmark: its epochs, how time grows with samples, and its power."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from greenlove_mlflow.numbers import NOT_MEASURED, format_duration_s, format_significant, format_w
from greenlove_mlflow.plots.canvas import (
    BLUE,
    GREEN,
    INK,
    ORANGE,
    PALETTE,
    PURPLE,
    SKY,
    SOFT,
    VERMILLION,
    empty_canvas,
    log_ticks,
    open_canvas,
    style_axes,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from greenlove_mlflow.core.records import BenchmarkLog, EpochRecord, Phase
    from greenlove_mlflow.core.timing.fit import Fit

# Phase -> (legend text, colour, marker); warm-up passes are hollow because they do not count.
PHASE_LOOKS: dict[Phase, tuple[str, str, str]] = {
    "first-contact": ("first contact", VERMILLION, "^"),
    "exploration": ("exploration", ORANGE, "v"),
    "warm-up": ("warm-up", VERMILLION, "^"),
    "revisit": ("revisit", PURPLE, "s"),
    "timed": ("timed", BLUE, "o"),
    "steady": ("steady", BLUE, "o"),
    "scaling": ("other sizes", GREEN, "D"),
    "validation": ("validation", SKY, "P"),
    "train": ("training", BLUE, "o"),
}
HOLLOW: frozenset[Phase] = frozenset({"first-contact", "warm-up", "exploration"})
_LOG_FROM_RATIO = 4.0
_SIZE_MARKERS = "os^Xv>"


def plot_epochs(log: BenchmarkLog) -> Figure:
    """A figure of the benchmarked passes, each scaled to a whole epoch, in order; warm-up is marked."""
    records = [record for record in log.epochs if record.phase != "validation"]
    title = "Benchmarked epochs, scaled to the whole data set"
    if not records:
        return empty_canvas(title=title, reason=NOT_MEASURED)
    figure = open_canvas(
        title=title,
        subtitle=f"{len(records)} passes in {format_duration_s(log.duration_s)}; hollow marks do not enter the mean",
        caption=_source_line(log),
        height_in=2.7,
    )
    axes = figure.subplots()
    seconds = [record.scaled_s(log.sample_count) for record in records]
    for phase in _phases(records):
        chosen = [index for index, record in enumerate(records) if record.phase == phase]
        _scatter(axes, [float(index + 1) for index in chosen], [seconds[index] for index in chosen], phase)
    style_axes(axes, x_label="pass, in the order they ran", y_label="seconds per epoch")
    _set_whole_ticks(axes, len(records))
    if max(seconds) > _LOG_FROM_RATIO * min(seconds):
        axes.set_yscale("log")
        log_ticks(axes, along="y", most=6)
        axes.set_ylabel("seconds per epoch (logarithmic)")
    else:
        axes.set_ylim(0.0, 1.12 * max(seconds))
    _legend(axes)
    return figure


def plot_passes_by_size(log: BenchmarkLog) -> Figure:
    """A figure of the seconds of each pass in the order they ran, one line per number of samples."""
    records = [record for record in log.epochs if record.phase != "validation"]
    title = "Time of each pass, by sample size"
    if not records:
        return empty_canvas(title=title, reason=NOT_MEASURED)
    figure = open_canvas(
        title=title,
        subtitle="One line for each number of samples: flat lines mean steady passes",
        caption=_source_line(log),
        height_in=2.7,
    )
    axes = figure.subplots()
    sizes = sorted({record.sample_count for record in records}, reverse=True)
    for index, size in enumerate(sizes):
        seconds = [record.duration_s for record in records if record.sample_count == size]
        axes.plot(
            range(1, len(seconds) + 1),
            seconds,
            color=PALETTE[index % len(PALETTE)],
            marker=_SIZE_MARKERS[index % len(_SIZE_MARKERS)],
            markersize=5,
            linewidth=1.4,
            label=f"{size:,} samples",
        )
    style_axes(axes, x_label="pass over that many samples", y_label="seconds (logarithmic)")
    axes.set_yscale("log")
    log_ticks(axes, along="y", most=6)
    _set_whole_ticks(axes, max(sum(record.sample_count == size for record in records) for size in sizes))
    _legend(axes)
    return figure


def plot_scaling(log: BenchmarkLog, fit: Fit | None) -> Figure:
    """A figure of seconds against samples per pass, with the fit and its prediction for a whole epoch."""
    records = [record for record in log.epochs if record.phase != "validation"]
    title = "How an epoch grows with the data"
    if not records:
        return empty_canvas(title=title, reason=NOT_MEASURED)
    rho = None if fit is None else fit.spearman_rho
    words = "too few sizes for a rank correlation" if rho is None else f"rank correlation of size and time {rho:.2f}"
    figure = open_canvas(
        title=title,
        subtitle=f"Each mark is one pass over some samples; {words}",
        caption=_source_line(log),
        height_in=2.9,
    )
    axes = figure.subplots()
    for phase in _phases(records):
        chosen = [record for record in records if record.phase == phase]
        _scatter(axes, [float(each.sample_count) for each in chosen], [each.duration_s for each in chosen], phase)
    if fit is not None:
        _draw_fit(axes, records, fit)
    axes.set_xscale("log")
    axes.set_yscale("log")
    low, high = axes.get_xlim()
    axes.set_xlim(min(low, log.sample_count / 1.5), max(high, log.sample_count * 1.5))
    style_axes(axes, x_label="samples in the pass", y_label="seconds", grid="both")
    log_ticks(axes, along="x", most=7)
    log_ticks(axes, along="y", most=6)
    _legend(axes)
    return figure


def plot_power(log: BenchmarkLog) -> Figure:
    """A figure of each device's power during the benchmark, with the mean that the estimate uses and its range."""
    title = "Power during the benchmark"
    if not log.power and not log.power_samples:
        return empty_canvas(title=title, reason="Power was not measured on this machine.")
    figure = open_canvas(title=title, subtitle=_power_words(log), caption=_source_line(log), height_in=2.6)
    axes = figure.subplots()
    devices = sorted({sample.device for sample in log.power_samples} | {reading.device for reading in log.power})
    end_s = max([log.duration_s, *(sample.at_s for sample in log.power_samples)])
    for device in devices:
        colour = _device_colour(device)
        samples = [sample for sample in log.power_samples if sample.device == device]
        axes.plot([s.at_s for s in samples], [s.power_w for s in samples], color=colour, linewidth=1.2)
        for reading in (each for each in log.power if each.device == device):
            factor = math.exp(reading.log_half_width)
            axes.fill_between(
                [0.0, end_s], reading.power_w / factor, reading.power_w * factor, color=colour, alpha=0.14
            )
            axes.plot([0.0, end_s], [reading.power_w] * 2, color=colour, linewidth=1.4, linestyle=(0, (5, 3)),
                      label=f"{device}: {format_significant(reading.power_w, 3)} W, {reading.source}")  # fmt: skip
    axes.set_ylim(bottom=0.0)
    axes.set_xlim(0.0, max(end_s, 1e-3))
    style_axes(axes, x_label="seconds since the benchmark began", y_label="watts")
    _legend(axes)
    return figure


def _device_colour(device: str) -> str:
    """The colour of that kind of device, the same as on the page."""
    looks = {"gpu": BLUE, "cpu": VERMILLION, "ram": GREEN}
    return next((colour for kind, colour in looks.items() if device.startswith(kind)), PURPLE)


def _power_words(log: BenchmarkLog) -> str:
    if not log.power:
        return "Samples only; no mean could be formed"
    total = sum(reading.power_w for reading in log.power)
    sampled = "solid: samples; " if log.power_samples else "no samples; "
    return f"{format_w(total)} in all; {sampled}dashed: mean used, its 95% range shaded"


def _draw_fit(axes: Axes, records: Sequence[EpochRecord], fit: Fit) -> None:
    """Draw the predicted seconds by size, and the range of a whole epoch."""
    smallest = min(record.sample_count for record in records)
    count = 60
    sizes = [smallest * (fit.sample_count / smallest) ** (index / (count - 1)) for index in range(count)]
    if fit.affine_slope_s is not None and fit.affine_intercept_s is not None:
        times = [fit.affine_intercept_s + fit.affine_slope_s * size for size in sizes]
        label = "line through the sizes"
    else:
        growing = fit.epoch_s - fit.overhead_s
        times = [fit.overhead_s + growing * size / fit.sample_count for size in sizes]
        label = "in proportion to samples"
    pairs = [(size, time) for size, time in zip(sizes, times, strict=True) if time > 0.0]
    axes.plot([size for size, _ in pairs], [time for _, time in pairs], color=SOFT, linewidth=1.2, label=label)
    factor = math.exp(fit.t_quantile * math.hypot(fit.drift_log_sd, fit.structure_log_sd))
    axes.errorbar(
        fit.sample_count,
        fit.epoch_s,
        yerr=[[fit.epoch_s - fit.epoch_s / factor], [fit.epoch_s * factor - fit.epoch_s]],
        fmt="*",
        color=INK,
        markersize=10,
        capsize=4,
        label=f"whole epoch: {format_duration_s(fit.epoch_s)}",
    )


def _scatter(axes: Axes, x: Sequence[float], y: Sequence[float], phase: Phase) -> None:
    label, colour, marker = PHASE_LOOKS[phase]
    face = "none" if phase in HOLLOW else colour
    axes.plot(x, y, marker, markerfacecolor=face, markeredgecolor=colour, markersize=5.5, linestyle="none", label=label)


def _phases(records: Sequence[EpochRecord]) -> list[Phase]:
    return list(dict.fromkeys(record.phase for record in records))


def _set_whole_ticks(axes: Axes, count: int) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.set_xlim(0.5, count + 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True))


def _legend(axes: Axes) -> None:
    """Draw a legend above the axes, where it covers no data."""
    axes.legend(loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=4, frameon=False, fontsize=8, labelcolor=INK,
                handletextpad=0.4, columnspacing=1.2, borderaxespad=0.2)  # fmt: skip


def _source_line(log: BenchmarkLog) -> str:
    began = f" on {log.started_at[:10]}" if log.started_at else ""
    return f"Measured by greenlove{began} on {log.machine.processor_name}, method {log.method}."
