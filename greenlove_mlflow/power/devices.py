"""The devices that a meter covers, each with its readable sources and a fallback model."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

from greenlove_mlflow.core.energy.power import ASSUMED_UTILIZATION, metering_caveats, read_metered
from greenlove_mlflow.core.interval import Interval
from greenlove_mlflow.core.provenance import Caveat
from greenlove_mlflow.core.records import EnergySource, Machine, PowerReading
from greenlove_mlflow.core.speed.gpus import GpuSpec
from greenlove_mlflow.power import rapl
from greenlove_mlflow.power.ledger import SAMPLE_GAP_S, Ledger
from greenlove_mlflow.power.sources import ConstantSource, CpuShareSource, ReadableDevice

logger = logging.getLogger(__name__)


SourceT_co = TypeVar("SourceT_co", bound=ReadableDevice, covariant=True)
PowerSource = ConstantSource | CpuShareSource


@dataclass(frozen=True, slots=True, kw_only=True)
class PowerModel:
    """Assumptions for devices that cannot be read; None where nothing is known.

    Args:
        tdp_w: Full-load power of the training device as the caller gave it, watts.
        gpu_utilization: Share of its full power that a board is assumed to draw, 0 to 1.
        gpu_spec: The board's row of the specs table.
        cpu_power: Full-load power of the visible cores, watts.
        ram_w_per_gib: Watts per GiB of memory.
        neighbour_pids: The training's other ranks on this machine, whose CPU seconds count too.
    """

    tdp_w: float | None = None
    gpu_utilization: float = ASSUMED_UTILIZATION
    gpu_spec: GpuSpec | None = None
    cpu_power: Interval | None = None
    ram_w_per_gib: Interval | None = None
    neighbour_pids: tuple[int, ...] = ()


# Least metered share of time for a figure to count as measured; the rest is filled with the mean.
MEASURED_SHARE = 0.9
# Below these shares the metered mean does not represent the rest: first the figure no longer counts as metered, then
# only the model is used.
KNOWN_SHARE = 0.5
LEAST_KNOWN_SHARE = 0.1


class Track(Generic[SourceT_co]):
    """One source with its ledger.

    Attributes:
        edge_count: Number of window edges at its last reading.
        is_inside: Whether its last reading was inside a window.
        sampled_at_s: Time of its last sample, seconds since opening.
    """

    def __init__(self, source: SourceT_co, *, sample_gap_s: float = SAMPLE_GAP_S) -> None:
        self.source = source
        self.ledger = Ledger(source.device, source.traits, sample_gap_s=sample_gap_s)
        self.edge_count, self.is_inside = 0, False
        self.sampled_at_s = float("-inf")


@dataclass(slots=True)
class DeviceTracks:
    """One device: its meter, its model, or both."""

    device: str
    meter: Track[ReadableDevice] | None = None
    model: Track[PowerSource] | None = None
    idle_power_w: float | None = None
    notes: list[Caveat] = field(default_factory=list)
    unread_because: str = ""

    @property
    def shown(self) -> Track[ReadableDevice] | Track[PowerSource] | None:
        """The track whose samples represent the device: the meter once it has answered, else the model."""
        return self.meter if self.meter is not None and self.meter.ledger.has_answered else self.model

    def metered_energy_j(self, at_s: float, *, least_share: float = KNOWN_SHARE) -> float | None:
        """Metered energy since opening, with gaps filled with the mean of the rest.

        Args:
            at_s: End of the time span, seconds since opening.
            least_share: Least share of that time that must have been metered.

        Returns:
            Joules; None if no meter covered enough of the time.
        """
        tally = None if self.meter is None else self.meter.ledger.tally(at_s)
        return None if tally is None or tally.known_share < least_share else tally.energy_j

    def is_measured(self, at_s: float) -> bool:
        """Whether the meter covered nearly all the time since opening and still answers."""
        is_lost = self.meter is None or self.meter.ledger.is_lost
        return not is_lost and self.metered_energy_j(at_s, least_share=MEASURED_SHARE) is not None

    def energy_j(self, at_s: float) -> float | None:
        """Joules since opening by the meter, else by the model; None if neither has them."""
        metered_j = self.metered_energy_j(at_s, least_share=LEAST_KNOWN_SHARE)
        if metered_j is None and self.model is not None:
            tally = self.model.ledger.tally(at_s)
            return None if tally is None else tally.energy_j
        return metered_j

    def reading(self) -> PowerReading | None:
        """Its mean power over the windows, by the meter if it read any, else by the model, else None."""
        if self.meter is None:
            return self.modelled()
        metered = self.meter.ledger.metered()
        note, idle_w = self.meter.source.note, self.idle_power_w
        return read_metered(metered, note=note, idle_power_w=idle_w) or self.modelled()

    def modelled(self) -> PowerReading | None:
        """Its mean power by the model; None without one."""
        model = self.model
        return None if model is None else model.source.reading(model.ledger.metered(with_samples=False))

    @property
    def has_metered_power(self) -> bool:
        """Whether its power was metered."""
        metered = None if self.meter is None else self.meter.ledger.metered(with_samples=False)
        return metered is not None and (metered.is_counter_believed or metered.sampled_w is not None)

    def caveats(self, at_s: float) -> tuple[Caveat, ...]:
        """Caveats on its power and its energy up to ``at_s``."""
        if self.meter is None:
            return tuple(self.notes)
        ledger = self.meter.ledger
        caveats = [*self.notes, *metering_caveats(ledger.metered(with_samples=False))]
        if not ledger.has_answered:
            why = "it reports neither energy nor power"
            caveats.append(Caveat.of("power-not-metered", device=self.device, why=why))
        if ledger.is_lost:
            caveats.append(Caveat.of("power-meter-lost", device=self.device))
        if ledger.frozen_s:
            caveats.append(Caveat.of("energy-counter-frozen", device=self.device, frozen_s=ledger.frozen_s))
        if ledger.reset_count:
            caveats.append(Caveat.of("energy-counter-reset", device=self.device, count=ledger.reset_count))
        tally = ledger.tally(at_s)
        share = 0.0 if tally is None else tally.known_share
        if ledger.has_answered and share < MEASURED_SHARE:
            caveats.append(Caveat.of("power-gaps", device=self.device, share=share, filled=_what_fills(share)))
        return tuple(caveats)


def _what_fills(known_share: float) -> str:
    if known_share < LEAST_KNOWN_SHARE:
        return "too little to tell the energy of the rest"
    return "the rest is taken to have drawn the mean of that"


def model_caveats(parts: Sequence[DeviceTracks]) -> tuple[Caveat, ...]:
    """One caveat that names every device whose power is modelled; empty if there is none."""
    words, factor = [], 1.0
    for part in parts:
        reading = None if part.has_metered_power else part.modelled()
        if reading is not None and reading.source == "modelled":
            because = f", because {part.unread_because}" if part.unread_because else ""
            words.append(f"{reading.device} ({reading.note}{because})")
            factor = max(factor, math.exp(reading.log_half_width))
    if not words:
        return ()
    return (Caveat.of("power-modelled", devices="; ".join(words), factor=factor),)


def name_device(device: Any) -> str:
    """``cpu``, or ``gpu_0`` for the device of that index.

    >>> name_device("cuda:1"), name_device("mps"), name_device("cpu")
    ('gpu_1', 'gpu_0', 'cpu')
    """
    kind, _, number = str(device).partition(":")
    return "cpu" if kind == "cpu" else f"gpu_{number if number.isdigit() else 0}"


def model_parts(machine: Machine, device: str, model: PowerModel) -> list[DeviceTracks]:
    """The devices that training on ``device`` uses, each with its model if it has one.

    Args:
        machine: Machine that training runs on.
        device: Name of the training device, such as ``gpu_0`` or ``cpu``.
        model: Assumptions for devices that cannot be read.
    """
    parts: list[DeviceTracks] = []
    if device != "cpu":
        parts.append(DeviceTracks(device=device, model=_model_gpu(device, model)))
    cpu: PowerSource | None = None
    if device == "cpu" and model.tdp_w is not None:
        cpu = _given_source(device, model)
    elif model.cpu_power is not None:
        cpu = CpuShareSource(model.cpu_power, machine.visible_cpu_count, model.neighbour_pids)
    parts.append(DeviceTracks(device="cpu", model=None if cpu is None else _model_track(cpu)))
    parts.append(DeviceTracks(device="ram", model=_model_ram(machine, model)))
    return parts


def attach_rapl(parts: list[DeviceTracks], root: Path | None = None) -> None:
    """Attach the RAPL counters of CPU and memory if they can be read."""
    sources, problem = rapl.find_rapl(root or rapl.POWERCAP)
    by_device = {source.device: source for source in sources}
    for part in parts:
        if part.device in by_device:
            part.meter = Track(by_device[part.device])
        elif part.device == "cpu" and problem:
            part.unread_because = problem


def _model_track(source: PowerSource) -> Track[PowerSource]:
    """A track for a model, which is valid at all times: no time between its samples is a gap."""
    return Track(source, sample_gap_s=math.inf)


def _model_ram(machine: Machine, model: PowerModel) -> Track[PowerSource] | None:
    """A model of the memory in proportion to the visible cores: on a shared machine the rest belongs to others."""
    if model.ram_w_per_gib is None or not machine.memory_gib:
        return None
    share = min(1.0, machine.visible_cpu_count / (os.cpu_count() or machine.visible_cpu_count))
    memory_gib = machine.memory_gib * share
    note = f"{model.ram_w_per_gib.point:.2g} W/GiB x {memory_gib:.3g} GiB"
    if share < 1.0:
        note += f", which goes with {machine.visible_cpu_count} of {os.cpu_count()} cores"
    return _model_track(ConstantSource("ram", model.ram_w_per_gib.scaled(memory_gib), 1.0, "modelled", note))


def _model_gpu(device: str, model: PowerModel) -> Track[PowerSource] | None:
    if model.tdp_w is not None:
        return _model_track(_given_source(device, model))
    full_w = None if model.gpu_spec is None else model.gpu_spec.full_power_w
    if full_w is None:
        return None
    share = model.gpu_utilization
    stated = f"TDP {full_w.point:g} W" if full_w.is_exact else f"TDP {full_w.low:g} to {full_w.high:g} W by its laptop"
    return _model_track(ConstantSource(device, full_w, share, "modelled", f"{stated} x {share:.2f}"))


def _given_source(device: str, model: PowerModel) -> ConstantSource:
    tdp_w, share = model.tdp_w or 0.0, model.gpu_utilization
    source: EnergySource = "given"
    return ConstantSource(device, Interval.exactly(tdp_w), share, source, f"TDP {tdp_w:g} W as given x {share:.2f}")
