"""RankMeter: the energy of all ranks, metered on each and put together on rank 0."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Any

from greenlove_mlflow.benchmark.ranks import Ranks
from greenlove_mlflow.core.account.all_ranks import name_apart
from greenlove_mlflow.core.provenance import Caveat
from greenlove_mlflow.core.records import PowerReading, PowerSample
from greenlove_mlflow.power import PowerMeter


class RankMeter:
    """Rank 0's meter, with the energy that the other ranks report.

    Between two reports of a rank, it is taken to draw its mean so far. A rank whose board, or whose CPU, is metered by
    another rank reports that it counts nothing.

    Args:
        own: Rank 0's own meter.
        ranks: The ranks of the training.
    """

    def __init__(self, own: PowerMeter, ranks: Ranks) -> None:
        self._own = own
        self._ranks = ranks
        self._opened_s = time.perf_counter()
        self._reports: dict[int, dict[str, Any]] = {}

    def refresh(self) -> None:
        """Read what the other ranks have reported."""
        self._reports = self._ranks.read_others("power")

    def energy_j(self, *, modelled: bool = False) -> float | None:
        """Energy of all ranks' devices since opening, joules; None if rank 0's is unknown. See ``PowerMeter``."""
        own_j = self._own.energy_j(modelled=modelled)
        if own_j is None:
            return None
        now_s = time.perf_counter() - self._opened_s
        return own_j + sum(_energy_j(report, now_s) for report in self._reports.values())

    @property
    def is_metered(self) -> bool:
        """Whether the training device of every rank was metered for nearly all the time."""
        others = [report for report in self._reports.values() if report["counts"]]
        return self._own.is_metered and all(report["is_metered"] for report in others)

    def energy_note(self) -> str:
        """Text on why the energy since opening is not purely metered; empty if it is."""
        others = {str(report["note"]) for report in self._reports.values() if report["note"]}
        return "; ".join(filter(None, (self._own.energy_note(), *sorted(others))))

    def window(self) -> AbstractContextManager[None]:
        """Mark a steady stretch of rank 0."""
        return self._own.window()

    def readings(self) -> tuple[PowerReading, ...]:
        """Rank 0's readings; those of the other ranks come with their records."""
        return self._own.readings()

    def samples(self) -> tuple[PowerSample, ...]:
        """Rank 0's samples."""
        return self._own.samples()

    def caveats(self) -> tuple[Caveat, ...]:
        """Caveats on rank 0's power."""
        return self._own.caveats()

    def gauges(self) -> dict[str, float]:
        """Signals of rank 0's board."""
        return self._own.gauges()

    def latest_samples(self, seen_s: dict[int, float]) -> Iterator[PowerSample]:
        """The other ranks' mean power since their last report, each under a name of its own.

        Args:
            seen_s: Time of each rank's last report; updated.
        """
        taken = {"gpu_0", "cpu", "ram"}
        for rank, report in sorted(self._reports.items()):
            name = name_apart(report["device"], rank, taken)
            taken.add(name)
            if report["counts"] and report["power_w"] is not None and report["at_s"] > seen_s.get(rank, 0.0):
                seen_s[rank] = report["at_s"]
                at_s = time.perf_counter() - self._opened_s
                yield PowerSample(at_s=at_s, device=name, power_w=report["power_w"])


def _energy_j(report: dict[str, Any], now_s: float) -> float:
    if report["energy_j"] is None:
        return 0.0
    if report["is_final"] or not report["at_s"]:
        return float(report["energy_j"])
    return float(report["energy_j"]) * now_s / float(report["at_s"])


class Reporter:
    """A rank's reports of its own power.

    Args:
        meter: Its meter.
        ranks: The ranks of the training.
        device: Name of its training device.
    """

    def __init__(self, meter: PowerMeter, ranks: Ranks, device: str) -> None:
        self._meter, self._ranks, self._device = meter, ranks, device
        self._counts = ranks.counts_host if device == "cpu" else ranks.counts_board
        self._opened_s = time.perf_counter()
        self._last_s, self._last_j = 0.0, 0.0

    def report(self, *, is_final: bool = False) -> None:
        """Report the energy so far."""
        energy_j = self._meter.energy_j(modelled=True) if self._counts else None
        at_s, power_w = time.perf_counter() - self._opened_s, None
        if energy_j is not None:
            since_s = at_s - self._last_s
            power_w = max(0.0, energy_j - self._last_j) / since_s if since_s > 0.0 else None
            self._last_s, self._last_j = at_s, energy_j
        content = {
            "counts": self._counts,
            "device": self._device,
            "at_s": at_s,
            "energy_j": energy_j,
            "power_w": power_w,
            "is_metered": self._meter.is_metered,
            "note": self._meter.energy_note() if self._counts else "",
            "is_final": is_final,
        }
        self._ranks.post("power", content)
