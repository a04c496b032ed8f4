"""RAPL: energy counters of a CPU and its memory, which Linux exposes as files, usually readable by root only."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from greenlove_mlflow.core.energy.power import counter_step_j
from greenlove_mlflow.power.sources import RawReading, SourceTraits

POWERCAP = Path("/sys/class/powercap")
MICRO = 1e-6
# Some boards with several dies expose one counter under several names. Two that agree to a joule, out of tens of
# thousands, are the same counter: read a moment apart, a mirrored counter moves by millijoules.
MIRROR_TOLERANCE_J = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RaplDomain:
    """One counter, such as ``package-0`` or ``dram``; it wraps to 0 at ``wraps_at_j``."""

    name: str
    energy_file: Path
    wraps_at_j: float | None

    def read_j(self) -> float:
        """The current reading, joules.

        Raises:
            OSError: If it cannot be read.
            ValueError: If it does not hold a number.
        """
        return int(self.energy_file.read_text(encoding="ascii")) * MICRO


class RaplSource:
    """The sum of some RAPL counters, each unwrapped, as one counter that starts at 0.

    Args:
        device: ``cpu`` or ``ram``.
        domains: Counters of which none includes another.
    """

    # RAPL updates every millisecond, so the error at an edge is negligible.
    traits = SourceTraits(tick_s=0.0, lag_s=0.0)
    note = "RAPL counter"

    def __init__(self, device: str, domains: tuple[RaplDomain, ...]) -> None:
        self.device, self.domains = device, domains
        self._last: tuple[float, tuple[float, ...]] | None = None
        self._total_j = 0.0

    def read(self, now_s: Callable[[], float]) -> RawReading:
        """Joules since the first reading; decreases if a counter jumped, as after a reset."""
        try:
            now_j = tuple(domain.read_j() for domain in self.domains)
        except (OSError, ValueError):
            return RawReading(at_s=now_s())
        at_s = now_s()
        if self._last is not None:
            before_s, before_j = self._last
            steps = [
                counter_step_j(before, now, at_s - before_s, wraps_at_j=domain.wraps_at_j)
                for domain, before, now in zip(self.domains, before_j, now_j, strict=True)
            ]
            known = [step for step in steps if step is not None]
            self._total_j = self._total_j + sum(known) if len(known) == len(steps) else min(0.0, self._total_j) - 1.0
        self._last = (at_s, now_j)
        return RawReading(at_s=at_s, counter_j=self._total_j)


def find_rapl(root: Path = POWERCAP) -> tuple[tuple[RaplSource, ...], str]:
    """The readable counters of CPU and memory, and the reason if there are none."""
    found, refused = _read_domains(root)
    packages = _without_mirrors([domain for domain in found if domain.name.startswith("package")])
    memory = _without_mirrors([domain for domain in found if domain.name == "dram"])
    sources = []
    if packages:
        sources.append(RaplSource("cpu", packages))
        if memory:
            sources.append(RaplSource("ram", memory))
        return tuple(sources), ""
    if refused:
        return (), f"the CPU's energy counters may be read by the administrator only ({refused[0]})"
    return (), "the CPU shows no energy counter"


def _read_domains(root: Path) -> tuple[list[RaplDomain], list[Path]]:
    """The readable counters, and the files without read permission."""
    found: list[RaplDomain] = []
    refused: list[Path] = []
    # intel-rapl-mmio lists the same packages a second time.
    for folder in sorted(root.glob("intel-rapl:*")):
        energy_file = folder / "energy_uj"
        try:
            name = (folder / "name").read_text(encoding="utf-8").strip()
            wraps_at_j = _read_number(folder / "max_energy_range_uj")
            domain = RaplDomain(name=name, energy_file=energy_file, wraps_at_j=wraps_at_j)
            domain.read_j()
            found.append(domain)
        except PermissionError:
            refused.append(energy_file)
        except (OSError, ValueError):
            continue
    return found, refused


def _without_mirrors(domains: list[RaplDomain]) -> tuple[RaplDomain, ...]:
    """The counters without mirrors of another one."""
    kept: list[tuple[RaplDomain, float]] = []
    for domain in domains:
        try:
            reading_j = domain.read_j()
        except (OSError, ValueError):
            continue
        if all(abs(reading_j - other_j) > MIRROR_TOLERANCE_J for _, other_j in kept):
            kept.append((domain, reading_j))
    return tuple(domain for domain, _ in kept)


def _read_number(path: Path) -> float | None:
    """Joules in a file of microjoules; None if it is missing or 0."""
    try:
        return int(path.read_text(encoding="ascii")) * MICRO or None
    except (OSError, ValueError):
        return None
