"""PowerMeter: power draw of the training devices, read in the background without disturbing training."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from greenlove_mlflow.core.provenance import Caveat
from greenlove_mlflow.core.records import Machine, PowerReading, PowerSample
from greenlove_mlflow.power.devices import (
    DeviceTracks,
    PowerModel,
    Track,
    attach_rapl,
    model_caveats,
    model_parts,
    name_device,
)
from greenlove_mlflow.power.ledger import SAMPLE_GAP_S
from greenlove_mlflow.power.nvml.boards import BoardRequest, request_board
from greenlove_mlflow.power.nvml.monitor import BoardMonitor, open_board
from greenlove_mlflow.power.sources import DeviceLostError
from greenlove_mlflow.power.worker import CLOSE_TIMEOUT_S, Worker

logger = logging.getLogger(__name__)

# Caveats that explain why an energy is not purely metered.
ENERGY_CODES = frozenset(
    {
        "energy-counter-frozen",
        "energy-counter-implausible",
        "energy-counter-reset",
        "power-gaps",
        "power-meter-hung",
        "power-meter-lost",
        "power-modelled",
        "power-not-metered",
        "power-sources-disagree",
        "power-unknown",
    }
)

OnSample = Callable[[PowerSample], object]

# A model changes slowly; one sample per second is enough for its curve.
MODEL_POLL_INTERVAL_S = 1.0
# Opening NVML initialises every board, which takes seconds on large machines without persistence mode.
OPEN_TIMEOUT_S = 10.0
# A reading at a window edge does not become a separate sample if one was just taken.
MIN_SAMPLE_SPACING_SHARE = 0.5
# Samples more than this many intervals apart leave the time between them unknown.
SAMPLES_PER_GAP = 3.0
# A reading this soon after a window edge was made for that edge.
EDGE_SLACK_S = 0.25


class PowerMeter:
    """Power draw of the training devices. Made by ``open_meter``; every method may be called from any thread.

    No method raises because of a failing sensor: what cannot be read is None or missing, and ``caveats()`` says why.
    """

    def __init__(
        self,
        parts: list[DeviceTracks],
        *,
        primary: str,
        poll_interval_s: float,
        on_sample: OnSample | None,
        tdp_w: float | None = None,
    ) -> None:
        self._parts, self._primary, self._tdp_w = parts, primary, tdp_w
        self._poll_interval_s, self._on_sample = poll_interval_s, on_sample
        self._lock, self._model_lock = threading.Lock(), threading.Lock()
        self._opened_at = time.perf_counter()
        self._closed_s: float | None = None
        self._hung = False
        # Number of open windows, number of edges so far, and time of the last edge.
        self._depth, self._edge_count, self._edge_s = 0, 0, 0.0
        self._worker: Worker | None = None
        self._monitor: BoardMonitor | None = None

    def energy_j(self, *, modelled: bool = False) -> float | None:
        """Energy of all metered devices since opening, joules; None if the training device is not metered.

        Time that a meter did not cover is filled with the mean of the rest, unless that is most of the time.

        Args:
            modelled: Also count devices that are only modelled, so that a machine without a meter has a figure.

        Returns:
            Joules, never 0 for unknown: a device without any data is left out, and without the training device there is
            no figure.
        """
        self._look()
        at_s = self._now_s()
        with self._lock:
            primary = self._part(self._primary)
            if modelled:
                known = [part.energy_j(at_s) for part in self._parts]
                return None if primary.energy_j(at_s) is None else sum(each for each in known if each is not None)
            is_lost = primary.meter is None or primary.meter.ledger.is_lost
            if self._hung or is_lost or primary.metered_energy_j(at_s) is None:
                return None
            metered = [part.metered_energy_j(at_s) for part in self._parts]
            return sum(each for each in metered if each is not None)

    @property
    def is_metered(self) -> bool:
        """Whether the training device was metered for nearly all the time and still answers."""
        return not self._hung and self._part(self._primary).is_measured(self._now_s())

    @contextmanager
    def window(self) -> Iterator[None]:
        """Mark a steady stretch of training, over which mean power is taken; the device should be idle at its edges."""
        self._cross_edge(+1)
        try:
            yield
        finally:
            self._cross_edge(-1)

    def readings(self) -> tuple[PowerReading, ...]:
        """Mean power of each device over the windows so far; over all the time if none was marked.

        Empty if the power of the training device is unknown: the rest alone would look like the total.
        """
        self._look()
        with self._lock:
            readings = [part.reading() for part in self._parts]
        known = tuple(reading for reading in readings if reading is not None)
        return known if any(reading.device == self._primary for reading in known) else ()

    def samples(self) -> tuple[PowerSample, ...]:
        """The samples so far in time order, thinned if there are very many."""
        with self._lock:
            tracks = [part.shown for part in self._parts]
            kept = [sample for track in tracks if track is not None for sample in track.ledger.samples.all()]
        return tuple(sorted(kept, key=lambda sample: sample.at_s))

    def caveats(self) -> tuple[Caveat, ...]:
        """Caveats on power and energy."""
        with self._lock:
            caveats = [caveat for part in self._parts for caveat in part.caveats(self._now_s())]
            primary = self._part(self._primary)
            is_known = primary.has_metered_power or primary.model is not None
            caveats.extend(model_caveats(self._parts) if is_known else ())
        if self._hung or (self._worker is not None and self._worker.is_stuck):
            what, instead = "a call to the power meter did not return", "the energy since then is not metered"
            caveats.append(Caveat.of("power-meter-hung", what=what, instead=instead))
        if not is_known:
            what = "the CPU" if self._primary == "cpu" else "the board trained on"
            caveats.append(Caveat.of("power-unknown", device=what))
        if self._monitor is not None:
            caveats.extend(self._monitor.caveats())
        return tuple({(caveat.code, caveat.message): caveat for caveat in caveats}.values())

    def energy_note(self) -> str:
        """Text on why the energy since opening is not purely metered; empty if it is."""
        return "; ".join(caveat.message for caveat in self.caveats() if caveat.code in ENERGY_CODES)

    def signals(self) -> tuple[tuple[str, float], ...]:
        """Signals of the board while it was metered, by name; those it did not report are absent.

        ``clock_ratio``, ``throttled_share``, ``temperature_rise_c``, ``gpu_utilization``.
        """
        return () if self._monitor is None else self._monitor.summary()

    def gauges(self) -> dict[str, float]:
        """Signals of the board about a second ago, by name.

        ``clock_ratio``, ``throttled``, ``temperature_c``, ``utilization``. Empty without a board; cheap, because the
        meter's thread does the polling.
        """
        return {} if self._monitor is None else dict(self._monitor.latest)

    def open(self, request: BoardRequest | None) -> None:
        """Start reading. ``request`` identifies the board; None if training does not run on an NVIDIA GPU."""
        self._worker = Worker(self._tick, MODEL_POLL_INTERVAL_S, self._release)
        if request is not None:
            self._open_board(self._worker, request)
        if self._worker.is_stuck:
            # A thread that hangs in NVML is abandoned; CPU and models are read on another.
            self._worker = Worker(self._tick, MODEL_POLL_INTERVAL_S, self._release)
        self._worker.ask(lambda: attach_rapl(self._parts))
        if self._metered():
            self._worker.interval_s = self._poll_interval_s
        self._look()

    def _open_board(self, worker: Worker, request: BoardRequest) -> None:
        part = self._part(self._primary)
        gap_s = max(SAMPLE_GAP_S, SAMPLES_PER_GAP * self._poll_interval_s)
        opened = worker.ask(
            lambda: open_board(part.device, request, tdp_w=self._tdp_w, sample_gap_s=gap_s), OPEN_TIMEOUT_S
        )
        if opened is None:
            worker.abandon()
            what = f"NVML did not answer within {OPEN_TIMEOUT_S:g} s"
            part.notes.append(Caveat.of("power-meter-hung", what=what, instead="power is modelled"))
            return
        part.meter, self._monitor = opened.track, opened.monitor
        part.notes.extend(opened.notes)

    def rest(self, idle_baseline_s: float) -> None:
        """Sample the idle device for that many seconds to learn its idle power; 0 does nothing."""
        part = self._part(self._primary)
        if idle_baseline_s <= 0.0 or part.meter is None:
            return
        threading.Event().wait(idle_baseline_s)
        self._look()
        with self._lock:
            part.idle_power_w = part.meter.ledger.metered().sampled_w

    def close(self) -> None:
        """Stop reading within about two seconds, even if a call hangs. Readings so far are kept."""
        if self._closed_s is not None or self._worker is None:
            return
        self._look()
        self._closed_s = self._now_s()
        if not self._worker.close(CLOSE_TIMEOUT_S):
            self._hung = True
            logger.warning("a power meter did not stop within %.1f s and is left behind", CLOSE_TIMEOUT_S)

    def _part(self, device: str) -> DeviceTracks:
        return next(part for part in self._parts if part.device == device)

    def _metered(self) -> list[Track[Any]]:
        return [part.meter for part in self._parts if part.meter is not None and not part.meter.ledger.is_lost]

    def _modelled(self) -> list[Track[Any]]:
        return [part.model for part in self._parts if part.model is not None]

    def _now_s(self) -> float:
        """Seconds since opening, up to closing."""
        return time.perf_counter() - self._opened_at if self._closed_s is None else self._closed_s

    def _cross_edge(self, change: int) -> None:
        """Begin (+1) or end (-1) a window, and read every device."""
        with self._lock:
            before, self._depth = self._depth, max(0, self._depth + change)
            if (before > 0) != (self._depth > 0):
                self._edge_count += 1
                self._edge_s = self._now_s()
        self._look()

    def _look(self) -> None:
        """Read every device."""
        if self._closed_s is not None or self._worker is None:
            return
        with self._model_lock:
            self._read(self._modelled())
        if self._metered():
            self._worker.ask(lambda: self._read(self._metered()))
            self._hung = self._worker.is_stuck

    def _tick(self) -> None:
        if self._closed_s is not None:
            return
        self._read(self._metered())
        with self._model_lock:
            self._read(self._modelled())
        if self._monitor is not None:
            self._monitor.look()

    def _release(self) -> None:
        if self._monitor is not None:
            self._monitor.release()

    def _read(self, tracks: list[Track[Any]]) -> None:
        for track in tracks:
            try:
                reading = track.source.read(self._now_s)
            except DeviceLostError as error:
                logger.warning("%s was lost: %s", track.source.device, error)
                track.ledger.is_lost = True
                continue
            with self._lock:
                inside = self._was_inside(track, reading.at_s)
                power_w = track.ledger.add(reading, inside=inside)
                self._mark(track, reading.at_s)
                sample = self._sample(track, reading.at_s, power_w, inside=inside)
            if sample is not None:
                self._hand_out(sample)

    def _was_inside(self, track: Track[Any], at_s: float) -> bool:
        """Whether all the time since the track's last reading was inside a window.

        A reading for an edge is made at the edge; a late one, or one two edges after the last, covers both.
        """
        missed = self._edge_count - track.edge_count
        return track.is_inside and (missed == 0 or (missed == 1 and at_s - self._edge_s <= EDGE_SLACK_S))

    def _mark(self, track: Track[Any], at_s: float) -> None:
        is_inside = self._depth > 0
        if is_inside and (not track.is_inside or self._edge_count != track.edge_count):
            track.ledger.begin_window(at_s)
        elif track.is_inside and not is_inside:
            track.ledger.end_window(at_s)
        track.is_inside, track.edge_count = is_inside, self._edge_count

    def _sample(self, track: Track[Any], at_s: float, power_w: float | None, *, inside: bool) -> PowerSample | None:
        """The sample to store and pass on; None if there is none, or one was just taken."""
        if power_w is None and math.isinf(track.sampled_at_s):
            # Power from a counter needs two readings; a sample over a time as short as opening takes would be noise.
            track.sampled_at_s = at_s
        if power_w is None or at_s - track.sampled_at_s < MIN_SAMPLE_SPACING_SHARE * self._poll_interval_s:
            return None
        track.sampled_at_s = at_s
        sample = PowerSample(at_s=at_s, device=track.source.device, power_w=power_w)
        track.ledger.keep_sample(sample, inside=inside)
        return sample if track is self._part(track.source.device).shown else None

    def _hand_out(self, sample: PowerSample) -> None:
        if self._on_sample is None:
            return
        try:
            self._on_sample(sample)
        except Exception as error:  # noqa: BLE001 - a caller's callback must not stop the meter
            logger.warning("the power sample callback failed and will not be called again: %s", error)
            self._on_sample = None


@contextmanager
def open_meter(
    machine: Machine,
    *,
    torch_device: Any = None,
    gpu_index: int | None = None,
    poll_interval_s: float = 0.1,
    idle_baseline_s: float = 0.0,
    visible_devices: str | None = None,
    device_order: str | None = None,
    on_sample: OnSample | None = None,
    counts_host: bool = True,
    counts_board: bool = True,
    **assumed: Any,
) -> Iterator[PowerMeter]:
    """Open a meter of the devices that training on this machine uses, until the block ends.

    Args:
        machine: Machine that training runs on.
        torch_device: Device that training runs on; the machine's device when not given.
        gpu_index: NVML index of the board, if torch cannot identify it.
        poll_interval_s: Seconds between samples.
        idle_baseline_s: Seconds to sample the idle board before the block begins.
        visible_devices: ``CUDA_VISIBLE_DEVICES``, for torch versions that do not report the board's UUID.
        device_order: ``CUDA_DEVICE_ORDER``, for the same case.
        on_sample: Called on the meter's thread with each sample.
        counts_host: Whether CPU and memory are metered; of several ranks on a machine, one does.
        counts_board: Whether the board is metered; of several ranks on a board, one does.
        **assumed: Fields of ``PowerModel``: what is taken for devices that cannot be read. The ranks it names are no
            strangers on the board.
    """
    device = torch_device or machine.device
    primary = name_device(device)
    model = PowerModel(**assumed)
    full_power_w = None if model.gpu_spec is None else model.gpu_spec.full_power_w
    if not (counts_host if primary == "cpu" else counts_board):
        yield PowerMeter(
            [DeviceTracks(device=primary)], primary=primary, poll_interval_s=poll_interval_s, on_sample=None
        )
        return
    parts = model_parts(machine, primary, model)
    meter = PowerMeter(
        parts if counts_host else [part for part in parts if part.device == primary],
        primary=primary,
        poll_interval_s=poll_interval_s,
        on_sample=on_sample,
        tdp_w=None if full_power_w is None else full_power_w.high,
    )
    meter.open(
        request_board(
            device,
            uuid=machine.gpu_uuid,
            gpu_index=gpu_index,
            visible_devices=visible_devices,
            device_order=device_order,
            neighbour_pids=model.neighbour_pids,
        )
    )
    try:
        meter.rest(idle_baseline_s)
        yield meter
    finally:
        meter.close()
