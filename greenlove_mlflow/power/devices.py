"""Parts: the devices a meter accounts for, each with what can be read of it and a model for where that fails."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from greenlove_mlflow.core.energy.power import ASSUMED_UTILIZATION, metering_caveats, model_power, read_metered
from greenlove_mlflow.core.interval import Interval
from greenlove_mlflow.core.provenance import Caveat
from greenlove_mlflow.core.records import EnergySource, Machine, PowerReading
from greenlove_mlflow.core.speed.gpus import GpuSpec
from greenlove_mlflow.power.ledger import SAMPLE_GAP_S, Ledger
from greenlove_mlflow.power.models import ConstantSource, CpuShareSource, NvmlSource, Source

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class PowerModel:
    """What is known of devices that cannot be read; None where nothing is.

    Args:
        tdp_w: Power of the device trained on at full load as the caller gave it, watts.
        gpu_utilization: Share of its full power that a board is taken to draw, 0 to 1.
        gpu_spec: The board's row of the specs table.
        cpu_power: What the visible cores draw at full load, watts.
        ram_w_per_gib: Watts per GiB of memory.
    """

    tdp_w: float | None = None
    gpu_utilization: float = ASSUMED_UTILIZATION
    gpu_spec: GpuSpec | None = None
    cpu_power: Interval | None = None
    ram_w_per_gib: Interval | None = None


# More of the time than this must have been metered for a figure to be called so; the rest is filled with its mean.
MEASURED_SHARE = 0.9
# Below these shares the mean of what was metered says too little of the rest: the figure is not the meter's, and then
# a model's alone.
KNOWN_SHARE = 0.5
LEAST_KNOWN_SHARE = 0.1


class Track:
    """One source with its ledger.

    Attributes:
        edge_count: Edges of windows that its last reading knew of.
        is_inside: Whether its last reading was inside a window.
        sampled_at_s: When it last gave a sample.
    """

    def __init__(self, source: Source, *, sample_gap_s: float = SAMPLE_GAP_S) -> None:
        self.source = source
        self.ledger = Ledger(source.device, source.traits, sample_gap_s=sample_gap_s)
        self.edge_count, self.is_inside = 0, False
        self.sampled_at_s = float("-inf")


@dataclass(slots=True)
class Part:
    """One device: its meter, its model, or both."""

    device: str
    meter: Track | None = None
    model: Track | None = None
    idle_power_w: float | None = None
    notes: list[Caveat] = field(default_factory=list)
    unread_because: str = ""

    @property
    def shown(self) -> Track | None:
        """Whose samples are the device's: the meter's once it has answered, else the model's."""
        return self.meter if self.meter is not None and self.meter.ledger.has_answered else self.model

    def metered_energy_j(self, at_s: float, *, least_share: float = KNOWN_SHARE) -> float | None:
        """Joules since opening by the meter, gaps filled with the mean of the rest.

        Args:
            at_s: Up to when, seconds since opening.
            least_share: Share of that time that must have been metered.

        Returns:
            Joules; None without a meter that knows enough of them.
        """
        tally = None if self.meter is None else self.meter.ledger.tally(at_s)
        return None if tally is None or tally.known_share < least_share else tally.energy_j

    def is_measured(self, at_s: float) -> bool:
        """Whether the meter saw nearly all the time since opening and still answers."""
        is_lost = self.meter is None or self.meter.ledger.is_lost
        return not is_lost and self.metered_energy_j(at_s, least_share=MEASURED_SHARE) is not None

    def energy_j(self, at_s: float) -> float | None:
        """Joules since opening by the meter, else by the model; None when neither knows them."""
        metered_j = self.metered_energy_j(at_s, least_share=LEAST_KNOWN_SHARE)
        if metered_j is None and self.model is not None:
            tally = self.model.ledger.tally(at_s)
            return None if tally is None else tally.energy_j
        return metered_j

    def reading(self) -> PowerReading | None:
        """Its mean power over the windows, by the meter where it read any, else by the model, else None."""
        if self.meter is not None:
            metered = read_metered(
                self.meter.ledger.metered(), note=_meter_note(self.meter.source), idle_power_w=self.idle_power_w
            )
            if metered is not None:
                return metered
        return None if self.model is None else _read_model(self.model)

    def caveats(self, at_s: float) -> tuple[Caveat, ...]:
        """What the reader of its power and its energy up to ``at_s`` must know."""
        if self.meter is None:
            return tuple(self.notes)
        ledger = self.meter.ledger
        caveats = [*self.notes, *metering_caveats(ledger.metered())]
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
        if tally is not None and tally.known_share < MEASURED_SHARE:
            filled = _what_fills(tally.known_share)
            caveats.append(Caveat.of("power-gaps", device=self.device, share=tally.known_share, filled=filled))
        return tuple(caveats)


def _what_fills(known_share: float) -> str:
    if known_share < LEAST_KNOWN_SHARE:
        return "too little to tell the energy of the rest"
    return "the rest is taken to have drawn the mean of that"


def model_caveats(parts: Sequence[Part]) -> tuple[Caveat, ...]:
    """One caveat that names every device whose power is modelled; none when none is."""
    words, factor = [], 1.0
    for part in parts:
        reading = part.reading()
        if reading is not None and reading.source == "modelled":
            because = f", because {part.unread_because}" if part.unread_because else ""
            words.append(f"{reading.device} ({reading.note}{because})")
            factor = max(factor, math.exp(reading.log_half_width))
    if not words:
        return ()
    return (Caveat.of("power-modelled", devices="; ".join(words), factor=factor),)


def model_parts(machine: Machine, device: str, model: PowerModel) -> list[Part]:
    """The devices that a training on ``device`` uses, each with what can be modelled of it."""
    parts: list[Part] = []
    if device != "cpu":
        parts.append(Part(device=device, model=_model_gpu(device, model)))
    cpu: Source | None = None
    if device == "cpu" and model.tdp_w is not None:
        cpu = _given_source(device, model)
    elif model.cpu_power is not None:
        cpu = CpuShareSource(model.cpu_power, machine.visible_cpu_count)
    parts.append(Part(device="cpu", model=None if cpu is None else _model_track(cpu)))
    parts.append(Part(device="ram", model=_model_ram(machine, model)))
    return parts


def _model_track(source: Source) -> Track:
    """A model is known at all times: no time between its samples is a gap."""
    return Track(source, sample_gap_s=math.inf)


def _model_ram(machine: Machine, model: PowerModel) -> Track | None:
    """The memory that goes with the cores this process may use: on a shared machine the rest is others'."""
    if model.ram_w_per_gib is None or not machine.memory_gib:
        return None
    share = min(1.0, machine.visible_cpu_count / (os.cpu_count() or machine.visible_cpu_count))
    memory_gib = machine.memory_gib * share
    note = f"{model.ram_w_per_gib.point:.2g} W/GiB x {memory_gib:.3g} GiB"
    if share < 1.0:
        note += f", which goes with {machine.visible_cpu_count} of {os.cpu_count()} cores"
    return _model_track(ConstantSource("ram", model.ram_w_per_gib.scaled(memory_gib), 1.0, "modelled", note))


def _model_gpu(device: str, model: PowerModel) -> Track | None:
    if model.tdp_w is not None:
        return _model_track(_given_source(device, model))
    if model.gpu_spec is None or model.gpu_spec.tdp_w is None:
        return None
    tdp_w, share = model.gpu_spec.tdp_w, model.gpu_utilization
    note = f"TDP {tdp_w:g} W x {share:.2f}"
    return _model_track(ConstantSource(device, Interval.exactly(tdp_w), share, "modelled", note))


def _given_source(device: str, model: PowerModel) -> ConstantSource:
    tdp_w, share = model.tdp_w or 0.0, model.gpu_utilization
    source: EnergySource = "given"
    return ConstantSource(device, Interval.exactly(tdp_w), share, source, f"TDP {tdp_w:g} W as given x {share:.2f}")


def _meter_note(source: Any) -> str:
    if not isinstance(source, NvmlSource):
        return "RAPL counter"
    return "board counter, whole board of a MIG slice" if source.board.is_sliced else "board counter"


def _read_model(track: Track) -> PowerReading | None:
    source = track.source
    if isinstance(source, ConstantSource):
        return model_power(source.device, source.full_power_w, source.share, source=source.source, note=source.note)
    if not isinstance(source, CpuShareSource):
        return None
    full_w, mean_w = source.full_power_w, track.ledger.metered().counter_w
    if mean_w is None or full_w.point <= 0.0:
        return model_power("cpu", full_w, 1.0, note=f"{full_w.point:.3g} W at full load, taken as fully used")
    share = min(1.0, mean_w / full_w.point)
    return model_power("cpu", full_w, share, note=f"{full_w.point:.3g} W at full load x {share:.0%} of its cores")
