"""GPUs by exact name, and how fast one is against another: a ratio with its range and its basis."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from greenlove_mlflow.core.interval import Interval
from greenlove_mlflow.core.provenance import Caveat, Source
from greenlove_mlflow.errors import UnknownGpuError

Basis = Literal["given", "measured", "throughput", "mlperf", "spec"]
Precision = Literal["fp16", "bf16", "tf32", "fp32"]

# Drivers report a little less than the memory that the name states (79.2 GiB of 80, 30 of a Jetson's 32).
MEMORY_TOLERANCE = 0.12
# Words at the head of a name that its owner leaves out; none of them tells two boards apart (Quadro would).
_MAKERS = frozenset({"nvidia", "amd", "intel", "apple", "geforce", "tesla", "radeon"})


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuSpec:
    """One GPU's published figures; None where no source states one.

    ``fp16_tflops`` is dense with FP32 accumulation, what a PyTorch matrix product uses. ``tdp_max_w`` is the most that
    a laptop's maker may set. ``idle_w`` is the board at 0 % use with no CUDA context.
    """

    gpu_id: str
    name: str
    aliases: tuple[str, ...] = ()
    alias_is_ambiguous: bool = False
    vendor: str = ""
    architecture: str = ""
    segment: str = ""
    form_factor: str = ""
    memory_gib: float | None = None
    memory_bandwidth_gb_per_s: float | None = None
    fp32_tflops: float | None = None
    tf32_tflops: float | None = None
    fp16_tflops: float | None = None
    bf16_tflops: float | None = None
    fp16_nontensor_tflops: float | None = None
    tdp_w: float | None = None
    tdp_max_w: float | None = None
    idle_w: float | None = None
    compute_capability: str | None = None
    release_year: int | None = None
    source: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeResult:
    """What a probe of hardware unknown to every table measured, each with its own range."""

    device_name: str
    matmul_tflops: Interval
    copy_gb_per_s: Interval


@dataclass(frozen=True, slots=True, kw_only=True)
class ThroughputRow:
    """One published training throughput. Units differ by task: only ratios within one task mean anything."""

    suite: str
    task: str
    precision: str
    gpu_id: str
    gpu_count: int
    throughput: float
    unit: str = ""
    uses_tf32: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SuiteBridge:
    """How much faster the same GPU is in suite ``to_suite`` than in ``from_suite``, for one task and precision."""

    from_suite: str
    to_suite: str
    task: str
    precision: str
    gpu_count: int
    ratio_median: float
    ratio_min: float
    ratio_max: float


@dataclass(frozen=True, slots=True, kw_only=True)
class MlperfRow:
    """One MLPerf training result. Minutes compare within one round and benchmark only."""

    round: str
    benchmark: str
    gpu_id: str
    accelerator_count: int
    minutes: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeedRatio:
    """How many times faster one GPU does a workload than another.

    Args:
        ratio: Above 1 when the offer is faster; its range covers a new workload of this kind.
        basis: How it is known, best first: given, measured, throughput, mlperf, spec.
        detail: In words: tasks, suites, lean, substitutes ("geometric mean of 6 tasks, suite v2, leans on bert").
    """

    ratio: Interval
    basis: Basis
    detail: str = ""
    caveats: tuple[Caveat, ...] = ()
    source: Source | None = None


def find_gpu(
    name: str,
    specs: Iterable[GpuSpec],
    *,
    memory_gib: float | None = None,
    offer_names: Mapping[str, str] | None = None,
) -> GpuSpec:
    """The GPU of that whole name.

    Args:
        name: By NVML or torch, of the specs table, of a price sheet, or a key of the specs table; case, spaces,
            hyphens, trademark signs and a leading maker's name do not matter.
        specs: The GPUs that are known.
        memory_gib: Memory of the board in GiB; settles names that several boards share.
        offer_names: Further names by the specs table's key, such as those of a price sheet.

    Raises:
        UnknownGpuError: If no table knows the name, or several boards share it and nothing tells them apart.
    """
    known = tuple(specs)
    found = _candidates(name, known, offer_names or {})
    if not found:
        raise UnknownGpuError(_unknown_message(name, known, offer_names or {}))
    settled = _settle(name, found, memory_gib)
    if settled is None:
        boards = "; ".join(f"{spec.name} ({_memory_text(spec)})" for spec in found)
        memory = "" if memory_gib is None else f" and none has {memory_gib:.1f} GiB"
        raise UnknownGpuError(f"several boards are called {name!r}{memory}: {boards}. Name one of them as written here")
    return settled


def match_gpu(
    name: str,
    specs: Iterable[GpuSpec],
    *,
    memory_gib: float | None = None,
    offer_names: Mapping[str, str] | None = None,
) -> GpuSpec | None:
    """The GPU of that whole name as ``find_gpu`` finds it; None when no table knows it or it stays ambiguous."""
    found = _candidates(name, tuple(specs), offer_names or {})
    return _settle(name, found, memory_gib) if found else None


def ambiguity_caveat(spec: GpuSpec, specs: Iterable[GpuSpec]) -> Caveat | None:
    """The caveat that boards of the same name and memory cannot be told apart; None when nothing is shared."""
    keys = {_plain(alias) for alias in spec.aliases}
    twins = [
        other.name
        for other in specs
        if other.gpu_id != spec.gpu_id
        and keys & {_plain(alias) for alias in other.aliases}
        and _memory_agrees(other, spec.memory_gib)
    ]
    if not twins:
        return None
    return Caveat.of("ambiguous-gpu", gpu=spec.name, twins=", ".join(twins))


def nearest_names(name: str, names: Iterable[str], count: int = 4) -> tuple[str, ...]:
    """The names most like ``name``, best first: a question to the user, never a match."""
    by_plain = {_plain(each): each for each in names}
    words = set(_plain(name).split())
    holding = sorted((each for each in by_plain if words and words <= set(each.split())), key=len)
    alike = difflib.get_close_matches(_plain(name), by_plain, n=count, cutoff=0.5)
    return tuple(by_plain[each] for each in dict.fromkeys([*holding, *alike]))[:count]


def _candidates(name: str, specs: tuple[GpuSpec, ...], offer_names: Mapping[str, str]) -> tuple[GpuSpec, ...]:
    plain = _plain(name)
    if not plain:
        return ()
    found = [spec for spec in specs if plain in _plain_names(spec)]
    if not found:
        keys = {gpu_id for each, gpu_id in offer_names.items() if _plain(each) == plain}
        found = [spec for spec in specs if spec.gpu_id in keys]
    return tuple(found)


def _settle(name: str, found: tuple[GpuSpec, ...], memory_gib: float | None) -> GpuSpec | None:
    """The one board meant, of those that share a name; None when nothing tells them apart."""
    if len(found) == 1:
        return found[0]
    if memory_gib is not None:
        found = tuple(spec for spec in found if _memory_agrees(spec, memory_gib))
    named = [spec for spec in found if _plain(name) in {_plain(spec.name), _plain(spec.gpu_id)}]
    if named:
        return named[0]
    return found[0] if len(found) == 1 else None


def _memory_agrees(spec: GpuSpec, memory_gib: float | None) -> bool:
    if spec.memory_gib is None or memory_gib is None:
        return False
    return abs(spec.memory_gib - memory_gib) <= MEMORY_TOLERANCE * spec.memory_gib


def _plain_names(spec: GpuSpec) -> frozenset[str]:
    return frozenset(_plain(name) for name in (*spec.aliases, spec.name, spec.gpu_id))


@lru_cache(maxsize=8192)
def _plain(name: str) -> str:
    """A name as it is compared: case, signs, spacing and a leading maker's name gone."""
    text = re.sub(r"\((r|tm|c)\)|[®™©]", " ", name.casefold())
    words = re.sub(r"[\s_\-]+", " ", text).split()
    while len(words) > 1 and words[0] in _MAKERS:
        words = words[1:]
    return " ".join(words)


def _memory_text(spec: GpuSpec) -> str:
    return "memory unknown" if spec.memory_gib is None else f"{spec.memory_gib:g} GiB"


def _unknown_message(name: str, specs: tuple[GpuSpec, ...], offer_names: Mapping[str, str]) -> str:
    near = nearest_names(name, [*(spec.name for spec in specs), *offer_names])
    question = f"did you mean {' or '.join(near)}?" if near else "no known name is like it."
    return f"no table knows the GPU {name!r}; {question} Names are matched whole; see `greenlove tables show gpu_specs`"
