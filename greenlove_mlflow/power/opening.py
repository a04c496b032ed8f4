"""The door: opens a meter of the devices that a training uses."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from greenlove_mlflow.core.energy.power import ASSUMED_UTILIZATION
from greenlove_mlflow.core.interval import Interval
from greenlove_mlflow.core.records import Machine
from greenlove_mlflow.core.speed.gpus import GpuSpec
from greenlove_mlflow.power.devices import PowerModel, model_parts
from greenlove_mlflow.power.meter import OnSample, PowerMeter
from greenlove_mlflow.power.nvml.monitor import name_device
from greenlove_mlflow.power.nvml.state import request_board


@contextmanager
def open_meter(
    machine: Machine,
    *,
    torch_device: Any = None,
    gpu_index: int | None = None,
    tdp_w: float | None = None,
    gpu_utilization: float = ASSUMED_UTILIZATION,
    gpu_spec: GpuSpec | None = None,
    cpu_power: Interval | None = None,
    ram_w_per_gib: Interval | None = None,
    poll_interval_s: float = 0.1,
    idle_baseline_s: float = 0.0,
    visible_devices: str | None = None,
    device_order: str | None = None,
    on_sample: OnSample | None = None,
) -> Iterator[PowerMeter]:
    """A meter of the devices that a training on this machine uses, open until the block ends.

    Args:
        machine: Where the training runs.
        torch_device: On what; the machine's own device when not given.
        gpu_index: NVML index of the board, where torch cannot tell which it is.
        tdp_w: Full power of the device trained on, watts, for where it cannot be read.
        gpu_utilization: Share of the full power that a model of the board takes, 0 to 1.
        gpu_spec: The board's row of the specs table.
        cpu_power: What the visible cores draw at full load, watts; CPU power is modelled with it where unreadable.
        ram_w_per_gib: Watts per GiB; memory is modelled with it where unreadable. None leaves memory out.
        poll_interval_s: Seconds between samples.
        idle_baseline_s: Seconds to sample the idle board before the block begins.
        visible_devices: ``CUDA_VISIBLE_DEVICES``, for a torch that does not know its board's UUID.
        device_order: ``CUDA_DEVICE_ORDER``, likewise.
        on_sample: Called on the meter's thread with each sample.
    """
    device = torch_device or machine.device
    primary = name_device(device)
    model = PowerModel(
        tdp_w=tdp_w,
        gpu_utilization=gpu_utilization,
        gpu_spec=gpu_spec,
        cpu_power=cpu_power,
        ram_w_per_gib=ram_w_per_gib,
    )
    meter = PowerMeter(
        model_parts(machine, primary, model),
        primary=primary,
        poll_interval_s=poll_interval_s,
        on_sample=on_sample,
        tdp_w=None if gpu_spec is None else gpu_spec.tdp_w,
    )
    meter.open(
        request_board(
            device,
            uuid=machine.gpu_uuid,
            gpu_index=gpu_index,
            visible_devices=visible_devices,
            device_order=device_order,
        )
    )
    try:
        meter.rest(idle_baseline_s)
        yield meter
    finally:
        meter.close()
