"""Finds the GPU and the published offer that a price row names."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from greenlove_mlflow.core.offers.offer import Offer
from greenlove_mlflow.core.speed.gpus import GpuSpec
from greenlove_mlflow.core.speed.names import find_gpu
from greenlove_mlflow.errors import UnknownGpuError


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
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

    def find(self, gpu: str, *, memory_gib: float, version: str, own_version: str) -> Found:
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

    def _look_up(self, gpu: str, memory_gib: float | None, versions: tuple[str, ...]) -> Found:
        if not gpu:
            raise UnknownGpuError("the row names no GPU")
        named = [offer for offer in self._offers if offer.gpu == gpu]
        spec = self._find_spec(gpu, memory_gib, named)
        candidates = named or [offer for offer in self._offers if offer.gpu_id == spec.gpu_id]
        for version in versions:
            for offer in candidates:
                if version and offer.version == version:
                    return Found(spec=spec, offer=offer)
        return Found(spec=spec, offer=candidates[0] if candidates else None)

    def _find_spec(self, gpu: str, memory_gib: float | None, named: Sequence[Offer]) -> GpuSpec:
        gpu_ids = {offer.gpu_id for offer in named}
        exact = [spec for spec in self._specs if spec.gpu_id in gpu_ids]
        if len(exact) == 1:
            return exact[0]
        return find_gpu(gpu, self._specs, memory_gib=memory_gib, offer_names=self._names, offers_settle=False)
