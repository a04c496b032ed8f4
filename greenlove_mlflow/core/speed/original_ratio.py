"""The original's ratio of two GPUs where home has no published throughput: a weighted sum of two spec ratios.

Source: green-love 0.2.2, ``0.7 x FP16 TFLOPS ratio + 0.3 x bandwidth ratio``; here with the rates at the training's
precision.
"""

from __future__ import annotations

from greenlove_mlflow.core.interval import Interval
from greenlove_mlflow.core.speed.gpus import GpuSpec, Precision, SpeedRatio
from greenlove_mlflow.core.speed.published import RatioEvidence, has_throughput
from greenlove_mlflow.core.speed.spec_blend import compute_tflops
from greenlove_mlflow.core.speed.specs import spec_ratio

TFLOPS_WEIGHT = 0.7
BANDWIDTH_WEIGHT = 0.3


def original_ratio(
    home: GpuSpec, offer: GpuSpec, evidence: RatioEvidence, precision: Precision, *, group: str | None = None
) -> SpeedRatio | None:
    """The original's ratio, with the range of a spec ratio; None where the original uses another method.

    Args:
        home: The GPU that the time was measured on.
        offer: The GPU that is compared.
        evidence: The published measurements; a home with published throughput is compared by those.
        precision: Precision of the training's matrix products.
        group: The group of tasks that the workload belongs to.
    """
    if home.gpu_id == offer.gpu_id or has_throughput(evidence, home.gpu_id, precision):
        return None
    compute = compute_tflops(home, precision), compute_tflops(offer, precision)
    bandwidth = home.memory_bandwidth_gb_per_s, offer.memory_bandwidth_gb_per_s
    if not (compute[0] and compute[1] and bandwidth[0] and bandwidth[1]):
        return None
    by_specs = spec_ratio(home, offer, evidence, precision, group=group)
    ratio = TFLOPS_WEIGHT * compute[1] / compute[0] + BANDWIDTH_WEIGHT * bandwidth[1] / bandwidth[0]
    return SpeedRatio(
        ratio=Interval.from_log_width(ratio, by_specs.ratio.log_half_width),
        basis="spec",
        detail=f"{TFLOPS_WEIGHT} x TFLOPS ratio + {BANDWIDTH_WEIGHT} x bandwidth ratio of the published specs, "
        f"{precision}, as the original has it",
        caveats=by_specs.caveats,
        source=evidence.specs_source,
    )
