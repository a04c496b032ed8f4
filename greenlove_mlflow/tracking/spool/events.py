"""The events of a spool, one typed record per line, and lines that this release cannot read."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

# A longer line was not written by this package: the longest, inputs with their schemas, have about ten kilobytes.
LINE_LIMIT_BYTES = 8 << 20
_CHUNK_BYTES = 1 << 20
_TEXT_LIMIT, _TEXT_COUNT_LIMIT, _INPUT_COUNT_LIMIT, _DEVICE_LIMIT = 100_000, 1000, 1000, 200
# Limits of MLflow's stores for a time and a step.
_TIME_LIMIT_MS, _STEP_LIMIT = 1 << 53, 1 << 62
_STATUSES = (None, "FINISHED", "FAILED", "KILLED")
_PATH = re.compile(r"[^\x00-\x1f\x7f\\:]{1,500}")
_DATASET_FIELDS = {"name", "digest", "source_type", "source", "schema", "profile"}


class OddLineError(ValueError):
    """A line of a spool is damaged or of a kind unknown to this release."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricEvent:
    """One point of a metric."""

    key: str
    value: float
    timestamp_ms: int
    step: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PowerEvent:
    """One power reading of a device.

    Args:
        device: Such as ``gpu_0``.
        at_s: Seconds since the metering began.
        power_w: Watts.
        timestamp_ms: Milliseconds since 1970.
        step: Tenths of a second since the run began.
    """

    device: str
    at_s: float
    power_w: float
    timestamp_ms: int
    step: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LapEvent:
    """One lap of the real training: an epoch or a number of steps.

    Args:
        index: From 0.
        duration_s: Seconds.
        energy_j: Joules; None when not measured.
        forecast_s: Forecast of the whole training after this lap: point, low and high, seconds; None without one.
        timestamp_ms: When it ended, milliseconds since 1970.
        is_epoch: Whether the lap is an epoch.
    """

    index: int
    duration_s: float
    energy_j: float | None
    forecast_s: tuple[float, float, float] | None
    timestamp_ms: int
    is_epoch: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class ParamsEvent:
    """Params of the run."""

    texts: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class TagsEvent:
    """Tags of the run."""

    texts: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExperimentTagsEvent:
    """Tags of the run's experiment."""

    texts: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class InputsEvent:
    """Inputs of the run, each with ``dataset``, ``context`` and ``tags``."""

    inputs: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ArtifactEvent:
    """A file to be uploaded.

    Args:
        path: Its path in the run.
        number: Number of the folder in which it waits, from 1; 0 when it waits outside the spool.
        is_table: Whether MLflow shows it as a table.
        waits_at: Its path if it waits outside the spool, which lasts only as long as this process.
    """

    path: str
    number: int
    is_table: bool = False
    waits_at: Path | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelEvent:
    """A request to log the estimator as a model, from the facts in the file of that number."""

    number: int
    waits_at: Path | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class EndEvent:
    """The end of the run.

    Args:
        status: MLflow's status; None if the run is ended by other code.
        end_ms: End, milliseconds since 1970.
        is_own_end: False when another process ends the run for one that is gone.
        note: Note for the run's page, if it is ended here; empty without one.
    """

    status: str | None
    end_ms: int
    is_own_end: bool
    note: str = ""


Event = (
    MetricEvent
    | PowerEvent
    | LapEvent
    | ParamsEvent
    | TagsEvent
    | ExperimentTagsEvent
    | InputsEvent
    | ArtifactEvent
    | ModelEvent
    | EndEvent
)


@dataclass(frozen=True, slots=True, kw_only=True)
class OddLine:
    """A line that cannot be read, and why."""

    line: bytes
    reason: str


def to_line(event: Event) -> bytes:
    """The event as one line of JSON: its kind, then its fields."""
    return json.dumps(_plain(event), separators=(",", ":")).encode() + b"\n"


def from_line(line: bytes) -> Event:
    """The event that ``to_line`` wrote.

    Raises:
        OddLineError: If the line is not an event that this release can read.
    """
    if len(line) > LINE_LIMIT_BYTES:
        raise OddLineError(f"{len(line)} bytes are too long for an event")
    if not line.endswith(b"\n"):
        raise OddLineError("the line breaks off")
    try:
        content = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise OddLineError("the line is not JSON") from error
    if not isinstance(content, list) or not content or not isinstance(content[0], str):
        raise OddLineError("the line is no event")
    kind, *items = content
    if kind not in _READERS:
        raise OddLineError(f"this release knows no event of the kind {kind[:40]!r}")
    try:
        return _READERS[kind](*items)
    except (TypeError, ValueError, AttributeError, OverflowError) as error:
        raise OddLineError(f"an event of the kind {kind!r} with odd fields") from error


def read_line(line: bytes) -> Event | OddLine:
    """The event of a line, or an ``OddLine`` with the reason why it cannot be read."""
    try:
        return from_line(line)
    except OddLineError as error:
        return OddLine(line=line, reason=str(error))


def is_inner_path(path: str) -> bool:
    """Whether a relative path stays inside its folder.

    >>> is_inner_path("greenlove/report.html"), is_inner_path("../x"), is_inner_path("/etc/passwd")
    (True, False, False)
    """
    pure = PurePosixPath(path)
    return bool(_PATH.fullmatch(path)) and not pure.is_absolute() and ".." not in pure.parts and str(pure) == path


def _plain(event: Event) -> list[Any]:
    if isinstance(event, ArtifactEvent):
        return ["table" if event.is_table else "artifact", event.path, event.number]
    if isinstance(event, ModelEvent):
        return ["model", event.number]
    if isinstance(event, InputsEvent):
        return ["inputs", [dict(each) for each in event.inputs]]
    if isinstance(event, (ParamsEvent, TagsEvent, ExperimentTagsEvent)):
        return [_KINDS[type(event)], dict(event.texts)]
    return [_KINDS[type(event)], *(getattr(event, each.name) for each in fields(event))]


# The events written as their fields in order, and those that hold texts.
_KINDS: dict[type, str] = {
    MetricEvent: "metric",
    PowerEvent: "power",
    LapEvent: "lap",
    EndEvent: "end",
    ParamsEvent: "params",
    TagsEvent: "tags",
    ExperimentTagsEvent: "experiment-tags",
}


def _read_metric(key: Any, value: Any, timestamp_ms: Any, step: Any) -> MetricEvent:
    return MetricEvent(
        key=_text(key, 1000), value=_number(value), timestamp_ms=_time_ms(timestamp_ms), step=_whole(step, _STEP_LIMIT)
    )


def _read_power(device: Any, at_s: Any, power_w: Any, timestamp_ms: Any, step: Any) -> PowerEvent:
    return PowerEvent(
        device=_text(device, _DEVICE_LIMIT),
        at_s=_number(at_s),
        power_w=_number(power_w),
        timestamp_ms=_time_ms(timestamp_ms),
        step=_whole(step, _STEP_LIMIT),
    )


def _read_lap(*items: Any) -> LapEvent:
    index, duration_s, energy_j, forecast_s, timestamp_ms, is_epoch = items
    if not isinstance(is_epoch, bool):
        raise TypeError(is_epoch)
    return LapEvent(
        index=_natural(index, _STEP_LIMIT),
        duration_s=_number(duration_s),
        energy_j=None if energy_j is None else _number(energy_j),
        forecast_s=None if forecast_s is None else _range(forecast_s),
        timestamp_ms=_time_ms(timestamp_ms),
        is_epoch=is_epoch,
    )


def _range(ends: Any) -> tuple[float, float, float]:
    point, low, high = ends
    return _number(point), _number(low), _number(high)


def _read_inputs(inputs: Any) -> InputsEvent:
    if not isinstance(inputs, list) or len(inputs) > _INPUT_COUNT_LIMIT:
        raise TypeError(inputs)
    for each in inputs:
        dataset = each["dataset"]
        texts = [value for value in dataset.values() if value is not None]
        if not set(dataset) <= _DATASET_FIELDS or not all(map(_is_text, texts)):
            raise ValueError(dataset)
        _text(each["context"], _TEXT_LIMIT)
        _read_texts(each["tags"])
    return InputsEvent(inputs=tuple(inputs))


def _read_artifact(path: Any, number: Any, *, is_table: bool = False) -> ArtifactEvent:
    if not is_inner_path(_text(path, _TEXT_LIMIT)):
        raise ValueError(path)
    return ArtifactEvent(path=path, number=_positive(number), is_table=is_table)


def _read_table(path: Any, number: Any) -> ArtifactEvent:
    return _read_artifact(path, number, is_table=True)


def _read_model(number: Any) -> ModelEvent:
    return ModelEvent(number=_positive(number))


def _read_end(status: Any, end_ms: Any, is_own_end: Any, note: Any = "") -> EndEvent:
    if status not in _STATUSES or not isinstance(is_own_end, bool):
        raise ValueError(status)
    return EndEvent(status=status, end_ms=_time_ms(end_ms), is_own_end=is_own_end, note=_text(note, _TEXT_LIMIT))


def _read_texts(texts: Any) -> dict[str, str]:
    if not isinstance(texts, dict) or len(texts) > _TEXT_COUNT_LIMIT:
        raise TypeError(texts)
    return {_text(key, _TEXT_LIMIT): _text(value, _TEXT_LIMIT) for key, value in texts.items()}


_READERS: dict[str, Callable[..., Event]] = {
    "metric": _read_metric,
    "power": _read_power,
    "lap": _read_lap,
    "params": lambda texts: ParamsEvent(texts=_read_texts(texts)),
    "tags": lambda texts: TagsEvent(texts=_read_texts(texts)),
    "experiment-tags": lambda texts: ExperimentTagsEvent(texts=_read_texts(texts)),
    "inputs": _read_inputs,
    "artifact": _read_artifact,
    "table": _read_table,
    "model": _read_model,
    "end": _read_end,
}


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= _TEXT_LIMIT * 10


def _text(value: Any, limit: int) -> str:
    if not isinstance(value, str) or len(value) > limit:
        raise TypeError(value)
    return value


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(value)
    return float(value)


def _whole(value: Any, limit: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not -limit < value < limit:
        raise TypeError(value)
    return value


def _natural(value: Any, limit: int) -> int:
    if _whole(value, limit) < 0:
        raise ValueError(value)
    return int(value)


def _positive(value: Any) -> int:
    if _natural(value, 1 << 31) < 1:
        raise ValueError(value)
    return int(value)


def _time_ms(value: Any) -> int:
    return _natural(value, _TIME_LIMIT_MS)


def skip_line(file: BinaryIO) -> int:
    """Skip to the end of the current line of the file and return the number of bytes skipped."""
    count = 0
    while rest := file.readline(_CHUNK_BYTES):
        count += len(rest)
        if rest.endswith(b"\n"):
            break
    return count
