"""PowerMeter: what the devices of a training draw, read beside it and never in its way."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from greenlove_mlflow.core.provenance import Caveat
from greenlove_mlflow.core.records import PowerReading, PowerSample
from greenlove_mlflow.power.devices import Part, Track, model_caveats
from greenlove_mlflow.power.models import DeviceLostError
from greenlove_mlflow.power.nvml.boards import BoardRequest
from greenlove_mlflow.power.nvml.monitor import BoardLooks, attach_rapl, open_board
from greenlove_mlflow.power.worker import CLOSE_TIMEOUT_S, Worker

logger = logging.getLogger(__name__)

OnSample = Callable[[PowerSample], object]

# A model changes slowly; one sample a second draws its curve.
MODEL_POLL_INTERVAL_S = 1.0
# Opening NVML initialises every board of the machine, which takes seconds on large ones without persistence mode.
OPEN_TIMEOUT_S = 10.0
# A reading at the edge of a window does not become a sample of its own when one was just taken.
MIN_SAMPLE_SPACING_SHARE = 0.5


class PowerMeter:
    """What the devices of a training draw. Made by ``open_meter``; every method may be called from any thread.

    No method raises because of a meter: what cannot be read is None or missing, and ``caveats()`` says why.
    """

    def __init__(self, parts: list[Part], *, primary: str, poll_interval_s: float, on_sample: OnSample | None) -> None:
        self._parts, self._primary = parts, primary
        self._poll_interval_s, self._on_sample = poll_interval_s, on_sample
        self._lock, self._model_lock = threading.Lock(), threading.Lock()
        self._opened_at = time.perf_counter()
        self._is_closed, self._hung = False, False
        self._worker: Worker | None = None
        self._looks: BoardLooks | None = None

    def energy_j(self, *, modelled: bool = False) -> float | None:
        """Joules of all metered devices since opening; None when the device trained on is not metered.

        Args:
            modelled: Count devices that are only modelled too, so that a machine without a meter has a figure.
        """
        self._look(0)
        with self._lock:
            primary = self._part(self._primary)
            if modelled:
                known = [part.energy_j for part in self._parts]
                return None if primary.energy_j is None else sum(each for each in known if each is not None)
            if not self.is_metered:
                return None
            metered = [part.metered_energy_j for part in self._parts]
            return sum(each for each in metered if each is not None)

    @property
    def is_metered(self) -> bool:
        """Whether the device trained on has been metered, as of the last look at it."""
        return self._part(self._primary).metered_energy_j is not None and not self._hung

    @contextmanager
    def window(self) -> Iterator[None]:
        """Marks a steady stretch of training, over which mean power is taken; its edges want an idle device."""
        self._look(+1)
        try:
            yield
        finally:
            self._look(-1)

    def readings(self) -> tuple[PowerReading, ...]:
        """Mean power of each device over the windows so far; over all the time when none was marked.

        Empty when the power of the device trained on is not known: the rest alone would look like the whole.
        """
        self._look(0)
        with self._lock:
            readings = [part.reading() for part in self._parts]
        known = tuple(reading for reading in readings if reading is not None)
        return known if any(reading.device == self._primary for reading in known) else ()

    def samples(self) -> tuple[PowerSample, ...]:
        """The samples so far in time order, thinned when there are very many."""
        with self._lock:
            tracks = [part.meter or part.model for part in self._parts]
            kept = [sample for track in tracks if track is not None for sample in track.ledger.samples.all()]
        return tuple(sorted(kept, key=lambda sample: sample.at_s))

    def caveats(self) -> tuple[Caveat, ...]:
        """What the reader of power and energy must know."""
        with self._lock:
            caveats = [caveat for part in self._parts for caveat in part.caveats()]
            is_known = self._part(self._primary).reading() is not None
            caveats.extend(model_caveats(self._parts) if is_known else ())
        if self._hung or (self._worker is not None and self._worker.is_stuck):
            message = "a call to the power meter did not return; energy counts what was read before"
            caveats.append(Caveat(code="power-meter-hung", message=message))
        if not is_known:
            what = "the CPU" if self._primary == "cpu" else "the board trained on"
            message = f"power of {what} is neither metered nor in a table; pass tdp_w= for energy, cost and CO2e"
            caveats.append(Caveat(code="power-unknown", message=message))
        if self._looks is not None:
            caveats.extend(self._looks.caveats())
        return tuple({(caveat.code, caveat.message): caveat for caveat in caveats}.values())

    def signals(self) -> tuple[tuple[str, float], ...]:
        """What the board said of itself while it was metered, by name; absent what it did not say.

        ``clock_ratio``, ``throttled_share``, ``temperature_rise_c``, ``gpu_utilization``.
        """
        return () if self._looks is None else self._looks.summary()

    def gauges(self) -> dict[str, float]:
        """What the board said of itself about a second ago, by name.

        ``clock_ratio``, ``throttled``, ``temperature_c``, ``utilization``. Empty without a board; cheap, because the
        meter's thread does the asking.
        """
        return {} if self._looks is None else dict(self._looks.latest)

    def open(self, request: BoardRequest | None) -> None:
        """Starts reading. ``request`` says which board; None when the training runs on no NVIDIA GPU."""
        self._worker = Worker(self._tick, MODEL_POLL_INTERVAL_S, self._release)
        if request is not None:
            self._open_board(self._worker, request)
        if self._worker.is_stuck:
            # The thread that hangs in NVML is left behind; CPU and models are read on another.
            self._worker = Worker(self._tick, MODEL_POLL_INTERVAL_S, self._release)
        self._worker.ask(lambda: attach_rapl(self._parts))
        if self._metered():
            self._worker.interval_s = self._poll_interval_s
        self._look(0)

    def _open_board(self, worker: Worker, request: BoardRequest) -> None:
        part = self._part(self._primary)
        opened = worker.ask(lambda: open_board(part.device, request), OPEN_TIMEOUT_S)
        if opened is None:
            worker.abandon()
            message = f"NVML did not answer within {OPEN_TIMEOUT_S:g} s; power is modelled"
            part.notes.append(Caveat(code="power-meter-hung", message=message))
            return
        part.meter, self._looks = opened.track, opened.looks
        part.notes.extend(opened.notes)

    def rest(self, idle_baseline_s: float) -> None:
        """Samples the idle device for so many seconds, so that its idle power is known; 0 does nothing."""
        part = self._part(self._primary)
        if idle_baseline_s <= 0.0 or part.meter is None:
            return
        threading.Event().wait(idle_baseline_s)
        self._look(0)
        with self._lock:
            part.idle_power_w = part.meter.ledger.metered().sampled_w

    def close(self) -> None:
        """Stops reading within about two seconds, also when a call hangs. What was read stays."""
        if self._is_closed or self._worker is None:
            return
        self._look(0)
        self._is_closed = True
        if not self._worker.close(CLOSE_TIMEOUT_S):
            self._hung = True
            logger.warning("a power meter did not stop within %.1f s and is left behind", CLOSE_TIMEOUT_S)

    def _part(self, device: str) -> Part:
        return next(part for part in self._parts if part.device == device)

    def _metered(self) -> list[Track]:
        return [part.meter for part in self._parts if part.meter is not None and not part.meter.ledger.is_lost]

    def _modelled(self) -> list[Track]:
        return [part.model for part in self._parts if part.model is not None]

    def _look(self, mark: int) -> None:
        """Looks at every device, at the beginning (+1) or end (-1) of a window or in between (0)."""
        if self._is_closed or self._worker is None:
            return
        with self._model_lock:
            self._read(self._modelled(), mark)
        if self._metered():
            self._worker.ask(lambda: self._read(self._metered(), mark))
            self._hung = self._worker.is_stuck

    def _tick(self) -> None:
        if self._is_closed:
            return
        self._read(self._metered(), 0)
        with self._model_lock:
            self._read(self._modelled(), 0)
        if self._looks is not None:
            self._looks.look()

    def _release(self) -> None:
        if self._looks is not None:
            self._looks.release()

    def _read(self, tracks: list[Track], mark: int) -> None:
        for track in tracks:
            at_s = time.perf_counter() - self._opened_at
            try:
                reading = track.source.read(at_s)
            except DeviceLostError as error:
                logger.warning("%s was lost: %s", track.source.device, error)
                track.ledger.is_lost = True
                continue
            with self._lock:
                inside = track.depth > 0
                power_w = track.ledger.add(reading, inside=inside)
                self._mark(track, at_s, mark)
                sample = self._sample(track, at_s, power_w, inside=inside)
            if sample is not None:
                self._hand_out(sample)

    @staticmethod
    def _mark(track: Track, at_s: float, mark: int) -> None:
        if mark > 0 and track.depth == 0:
            track.ledger.begin_window(at_s)
        track.depth = max(0, track.depth + mark)
        if mark < 0 and track.depth == 0:
            track.ledger.end_window(at_s)

    def _sample(self, track: Track, at_s: float, power_w: float | None, *, inside: bool) -> PowerSample | None:
        """The sample to keep and hand out; None when there is none, or one was just taken."""
        if power_w is None and math.isinf(track.sampled_at_s):
            # Power by a counter needs two looks; a sample after so short a time as opening takes would be noise.
            track.sampled_at_s = at_s
        if power_w is None or at_s - track.sampled_at_s < MIN_SAMPLE_SPACING_SHARE * self._poll_interval_s:
            return None
        track.sampled_at_s = at_s
        sample = PowerSample(at_s=at_s, device=track.source.device, power_w=power_w)
        track.ledger.keep_sample(sample, inside=inside)
        return sample if self._is_shown(track) else None

    def _is_shown(self, track: Track) -> bool:
        part = self._part(track.source.device)
        return track is (part.meter or part.model)

    def _hand_out(self, sample: PowerSample) -> None:
        if self._on_sample is None:
            return
        try:
            self._on_sample(sample)
        except Exception as error:  # noqa: BLE001 - a caller's callback must not stop the meter
            logger.warning("the callback for power samples failed and is not called again: %s", error)
            self._on_sample = None
