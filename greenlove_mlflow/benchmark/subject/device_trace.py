"""Trace of host calls and GPU activity, by torch's own profiler; nothing is left behind."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile, record_function, supported_activities

from greenlove_mlflow.core.timing.timeline import Activity, ActivityKind

STEP_NAME = "greenlove/step"
# Host calls by their CUDA and HIP names: those that launch work, and those that return only when the device is done.
# A synchronous copy waits for its own completion.
_LAUNCH = re.compile(r"(cuda|cu|hip)\w*(Launch(?!HostFunc)\w*|Memcpy\w*Async\w*|Memset\w*)")
_WAIT = re.compile(r"(cuda|cu|hip)\w*(Device|Stream|Event|Ctx)Synchronize\w*|(cuda|cu|hip)Memcpy\w*")

_DEVICE_WORK = frozenset({"kernel", "gpu_memset", "gpu_memcpy"})


class DeviceTrace:
    """One trace. Enter it, mark each step with ``step()``, leave it; then ``activities`` holds the result.

    Steps begin and end with an idle device: ``step`` synchronises before and after.

    Attributes:
        activities: The recorded activities, once the trace has ended.
        operator_count: Operators traced within the steps; each cost some microseconds on the host.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._profile: Any = None
        self.activities: tuple[Activity, ...] = ()
        self.operator_count = 0

    def __enter__(self) -> DeviceTrace:
        self._profile = profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA])
        self._profile.start()
        # A tracer that has just started drops the first kernels unless some work has completed before.
        torch.zeros(1, device=self._device).add_(1.0)
        torch.cuda.synchronize(self._device)
        return self

    @contextmanager
    def step(self) -> Iterator[None]:
        """Mark a training step."""
        torch.cuda.synchronize(self._device)
        with record_function(STEP_NAME):
            yield
        torch.cuda.synchronize(self._device)

    def __exit__(self, kind: object, *_: object) -> None:
        torch.cuda.synchronize(self._device)
        self._profile.stop()
        if kind is None:
            with tempfile.TemporaryDirectory(prefix="greenlove-") as folder:
                path = Path(folder) / "trace.json"
                self._profile.export_chrome_trace(str(path))
                events = json.loads(path.read_text(encoding="utf-8", errors="replace")).get("traceEvents", [])
            index = torch.cuda.current_device() if self._device.index is None else self._device.index
            self.activities, self.operator_count = read_trace(events, device_index=index)
        self._profile = None


def read_trace(events: Iterable[Mapping[str, Any]], *, device_index: int) -> tuple[tuple[Activity, ...], int]:
    """The activities of one GPU in the events of a Chrome trace, and the number of operators within the marked steps.

    Args:
        events: ``traceEvents`` of the trace.
        device_index: Index of the GPU to read.

    Source: Kineto's output_json.cpp, where the names of categories and arguments are set.
    """
    activities: list[Activity] = []
    operators_us: list[float] = []
    elsewhere: set[int] = set()
    for event in events:
        if event.get("ph") != "X" or "ts" not in event:
            continue
        if event.get("cat") in _DEVICE_WORK and _device_of(event, device_index) != device_index:
            elsewhere.add(_whole((event.get("args") or {}).get("correlation")))
            continue
        if event.get("cat") == "cpu_op":
            operators_us.append(float(event["ts"]))
            continue
        kind = _kind_of(event)
        if kind is not None:
            arguments = event.get("args") or {}
            start_us = float(event["ts"])
            correlation = arguments.get("correlation")
            activities.append(
                Activity(
                    kind,
                    start_us,
                    start_us + float(event.get("dur", 0.0)),
                    _whole(arguments.get("stream")),
                    None if correlation is None else _whole(correlation),
                )
            )
    activities = [each for each in activities if each.kind != "launch" or each.correlation not in elsewhere]
    marks = [each for each in activities if each.kind == "step"]
    inside = sum(any(mark.start_us <= at_us <= mark.end_us for mark in marks) for at_us in operators_us)
    return tuple(activities), inside


def reason_not_to_trace(device: torch.device, *, subscriber: str | None = None) -> str:
    """Why no trace can be taken now; empty if one can.

    Args:
        device: Device that training runs on.
        subscriber: Name of a tool already subscribed to the driver, from the environment; None without one.
    """
    if device.type != "cuda":
        return f"torch's profiler records no kernels on {device.type}"
    if torch.autograd._profiler_enabled():  # type: ignore[attr-defined]
        return "a profiler of the training's own is running, and only one can"
    if subscriber is not None:
        return f"{subscriber} listens to the driver, and only one tool can"
    if ProfilerActivity.CUDA not in supported_activities():  # type: ignore[no-untyped-call]
        return "this build of torch cannot record kernels"
    if torch.cuda.is_current_stream_capturing():
        return "a CUDA graph is being captured"
    return ""


def _device_of(event: Mapping[str, Any], otherwise: int) -> int:
    return _whole((event.get("args") or {}).get("device", otherwise))


def _kind_of(event: Mapping[str, Any]) -> ActivityKind | None:
    category, name = str(event.get("cat", "")), str(event.get("name", ""))
    if category == "user_annotation":
        return "step" if name == STEP_NAME else None
    if category in _DEVICE_WORK:
        return "copy" if category == "gpu_memcpy" and "DtoD" not in name else "kernel"
    if category.endswith(("_runtime", "_driver")):
        if _LAUNCH.fullmatch(name):
            return "launch"
        return "wait" if _WAIT.fullmatch(name) else None
    return None


def _whole(value: object) -> int:
    try:
        return int(str(value))
    except ValueError:
        return 0
