"""Price rows: numbers parsed, problems of each row as messages, and the GPU and published offer that it names."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pandas as pd

from greenlove_mlflow.core.interval import FloatArray
from greenlove_mlflow.core.offers.offer import Offer
from greenlove_mlflow.core.speed.gpu_names import find_gpu
from greenlove_mlflow.core.speed.gpus import GpuSpec
from greenlove_mlflow.errors import InvalidInputError, UnknownGpuError
from greenlove_mlflow.serving.columns import REQUIRED_INPUTS


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceRows:
    """The columns of a price table; an empty cell is NaN in a number column and empty text in a text column.

    ``problems`` holds a list of messages per row.
    """

    gpu: Sequence[str]
    price_usd_per_hour: FloatArray
    spot_usd_per_hour: FloatArray
    memory_gib: FloatArray
    version: Sequence[str]
    statistics: Sequence[str]
    problems: Sequence[list[str]]

    def __len__(self) -> int:
        return len(self.gpu)


def read_price_rows(frame: pd.DataFrame) -> PriceRows:
    """Read the rows of a price table.

    Raises:
        InvalidInputError: If a needed column is missing.
    """
    missing = [name for name in REQUIRED_INPUTS if name not in frame.columns]
    if missing:
        raise InvalidInputError(
            f"a price table needs the columns {' and '.join(REQUIRED_INPUTS)}; {' and '.join(missing)} is missing "
            f"among {', '.join(map(str, frame.columns)) or 'none'}"
        )
    problems: list[list[str]] = [[] for _ in range(len(frame))]
    return PriceRows(
        gpu=_read_texts(frame, "gpu"),
        price_usd_per_hour=_read_numbers(frame, "price_usd_per_hour", problems),
        spot_usd_per_hour=_read_numbers(frame, "spot_usd_per_hour", problems),
        memory_gib=_read_numbers(frame, "memory_gib", problems),
        version=_read_texts(frame, "version"),
        statistics=_read_texts(frame, "statistics"),
        problems=problems,
    )


def _read_numbers(frame: pd.DataFrame, name: str, problems: Sequence[list[str]]) -> FloatArray:
    """A column as numbers of at least 0; any other non-empty cell becomes NaN and is added to the problems."""
    if name not in frame.columns:
        return np.full(len(frame), np.nan)
    column = frame[name]
    numbers = pd.to_numeric(column, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
    is_blank = np.array([_is_blank(cell) for cell in column], dtype=bool)
    is_bad = ~is_blank & ~(np.isfinite(numbers) & (numbers >= 0.0))
    for index in np.flatnonzero(is_bad):
        problems[int(index)].append(f"{name} is {str(column.iloc[index])!r}, not a number of at least 0")
    return np.where(is_bad | is_blank, np.nan, numbers)


def _read_texts(frame: pd.DataFrame, name: str) -> list[str]:
    """A column as text; a version parsed as the number 2026.01 is written back as such."""
    if name not in frame.columns:
        return [""] * len(frame)
    return ["" if _is_blank(cell) else str(cell).strip() for cell in frame[name]]


def _is_blank(cell: object) -> bool:
    return not cell.strip() if isinstance(cell, str) else bool(pd.isna(cell))  # type: ignore[call-overload]


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundGpu:
    """The match for the name in a row.

    Args:
        spec: The GPU.
        offer: The published offer that the row prices, with memory and regions; None when there is none.
    """

    spec: GpuSpec
    offer: Offer | None


class GpuFinder:
    """Finds what price rows name; each name is looked up once.

    Args:
        specs: The known GPUs.
        offers: Offers of published price sheets, newest first.
    """

    def __init__(self, specs: Sequence[GpuSpec], offers: Sequence[Offer]) -> None:
        self._specs = tuple(specs)
        self._offers = tuple(offers)
        self._names = {offer.gpu: offer.gpu_id for offer in reversed(self._offers)}
        self._look_up_once = lru_cache(maxsize=4096)(self._look_up)

    def find(self, gpu: str, *, memory_gib: float, version: str, own_version: str) -> FoundGpu:
        """The GPU and offer that a row names.

        Args:
            gpu: Name in the row.
            memory_gib: GPU memory in the row, GiB; NaN when not given.
            version: Version of the row's price sheet; empty when not given.
            own_version: Version of the price sheet that the run was first compared with.

        Raises:
            UnknownGpuError: If the name is in no table.
        """
        memory = None if math.isnan(memory_gib) else float(memory_gib)
        return self._look_up_once(gpu, memory, (version, own_version))

    def _look_up(self, gpu: str, memory_gib: float | None, versions: tuple[str, ...]) -> FoundGpu:
        if not gpu:
            raise UnknownGpuError("the row names no GPU")
        named = [offer for offer in self._offers if offer.gpu == gpu]
        spec = self._find_spec(gpu, memory_gib, named)
        candidates = named or [offer for offer in self._offers if offer.gpu_id == spec.gpu_id]
        for version in versions:
            for offer in candidates:
                if version and offer.version == version:
                    return FoundGpu(spec=spec, offer=offer)
        return FoundGpu(spec=spec, offer=candidates[0] if candidates else None)

    def _find_spec(self, gpu: str, memory_gib: float | None, named: Sequence[Offer]) -> GpuSpec:
        gpu_ids = {offer.gpu_id for offer in named}
        exact = [spec for spec in self._specs if spec.gpu_id in gpu_ids]
        if len(exact) == 1:
            return exact[0]
        return find_gpu(gpu, self._specs, memory_gib=memory_gib, offer_names=self._names, offers_settle=False)
