"""CaveatKind, and the caveats of a training: what a benchmark or a meter measured, modelled or missed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

# wrong-without: the figure misleads without it; act: the reader can and should do something; note: an assumption
# worth knowing.
Severity = Literal["wrong-without", "act", "note"]


@dataclass(frozen=True, slots=True)
class CaveatKind:
    """A kind's severity, its sentence with ``{placeholders}``, and its remedy."""

    severity: Severity
    sentence: str
    remedy: str = ""

    def filled(self, values: Mapping[str, Any]) -> str:
        """The sentence and the remedy with their placeholders filled.

        >>> CaveatKind("act", "the price is {age_days} days old", "look it up again").filled({"age_days": 200})
        'the price is 200 days old; look it up again'

        Raises:
            KeyError, ValueError: If a value is missing or does not suit its placeholder.
        """
        return "; ".join(part.format_map(values) for part in (self.sentence, self.remedy) if part)


TIME_KINDS: Mapping[str, CaveatKind] = {
    "affine-fit-poor": CaveatKind(
        "note",
        "a straight line explains only {r2:.0%} of how time grows with the data; plans for other sample counts "
        "are less certain than the range says",
    ),
    "autocorrelation": CaveatKind(
        "note",
        "slow and fast stretches last for seconds, so only a few were seen; the range is wider for it",
    ),
    "batch-quantisation": CaveatKind(
        "note",
        "an epoch has {step_count} steps of up to {batch_size} samples, so its time changes in jumps of a whole "
        "batch; a plan for other sample counts is rounded to whole batches",
    ),
    "benchmark-reused": CaveatKind(
        "note",
        "the estimate rests on the benchmark of an earlier trial of the same workload in this study (run {run}); this "
        "process has paid what is paid once",
    ),
    "benchmark-within": CaveatKind(
        "note",
        "the estimate comes from the first seconds of the training itself; what comes later in an epoch (its end, "
        "validation) counts only as far as it was seen",
    ),
    "cold-cache": CaveatKind(
        "note",
        "data loads faster on the second visit, so the first epoch is slower than the others; the estimate counts it "
        "separately, for a process that starts with a cold cache",
    ),
    "contention": CaveatKind(
        "act",
        "this machine is shared: {seen} during the benchmark, so the range is wider; without other load the "
        "training would take about {alone}",
        "benchmark again when it is quiet",
    ),
    "data-bound": CaveatKind(
        "act",
        "{share:.0%} of the time is spent waiting for data",
        "{advice}, or load it faster",
    ),
    "drift": CaveatKind(
        "act",
        "the time of a step changed by {change:+.1%} during the benchmark (warming up, throttling, or other "
        "load); {counted}",
        "benchmark again on a warm, quiet machine",
    ),
    "epoch-shorter-than-stated": CaveatKind(
        "act",
        "the data ended after {step_count} batches, not {stated_count}; the estimate counts the batches that came",
        "correct steps_per_epoch or the data",
    ),
    "extrapolation": CaveatKind(
        "note",
        "the training is {factor:,.0f} times as long as the benchmark; the machine may change over that time, so "
        "the range is wider",
        "follow the forecast once it runs",
    ),
    "few-steps": CaveatKind(
        "act",
        "steps are so slow that the estimate rests on the first {count} of them",
        "raise budget_s",
    ),
    "host-bound": CaveatKind(
        "act",
        "the training is bound by the host: the GPU works {busy_share:.0%} of the time, and a faster GPU would not "
        "make it faster; the same on this GPU could take {least_share:.2f} of the time",
        "a larger batch, torch.compile or CUDA graphs give the GPU more to do",
    ),
    "loss-not-finite": CaveatKind(
        "act",
        "the loss of a training step was not finite; the time is right, but the training is not",
        "lower the learning rate or look at the data",
    ),
    "no-end-known": CaveatKind(
        "note",
        "the length of this training is not known, so the estimate is for one lap of it",
        "pass steps= or epochs=",
    ),
    "one-off-paid": CaveatKind(
        "note",
        "the benchmark already paid {one_off_s:.1f} s of compiling and tuning, so the figures here leave them "
        "out; a new process, here or on an offer, pays them again",
    ),
    "overhead-share": CaveatKind(
        "note",
        "{share:.0%} of an epoch ({overhead_s:.2f} s) does not depend on its number of steps (workers and "
        "iterators starting)",
        "persistent_workers=True saves it",
    ),
    "plan-differs": CaveatKind(
        "act",
        "the training took {steps:,.0f} optimizer steps, not the planned number: its laps are cut to the steps it"
        " took, and its outcome is not used to improve later estimates",
        "state batch_size=, steps_per_epoch= or accumulation=",
    ),
    "original-range": CaveatKind(
        "wrong-without",
        "this range follows the original's method: it ignores the uncertainty of the mean, machine drift and the "
        "overhead of small sizes, so it holds the truth far less often than 95%",
        "method='adaptive' includes these",
    ),
    "smaller-than-a-batch": CaveatKind(
        "act",
        "the data has {sample_count} samples, fewer than one batch of {batch_size}; every epoch is one small "
        "step, so the time of full batches is not measured",
        "lower batch_size",
    ),
    "spearman-low": CaveatKind(
        "act",
        "time does not grow steadily with the data (rank correlation {rho:.2f}, at least {least_rho} is expected)",
        "benchmark on a quieter machine before planning other sizes",
    ),
    "steps-only": CaveatKind(
        "act",
        "only training steps are counted; validation and checkpoints are extra",
        "pass validation= or extra_per_epoch_s=",
    ),
    "superlinear": CaveatKind(
        "act",
        "time grows faster than the data (by {bend:.0%} beyond a straight line at the largest size): kernel methods, "
        "graphs and growing inputs do so",
        "time whole epochs, or raise budget_s",
    ),
    "throttling": CaveatKind(
        "act",
        "the GPU was {seen} during the benchmark; a long training runs hotter and slower",
        "check cooling and power limit, or raise budget_s",
    ),
    "too-few-epochs": CaveatKind(
        "act",
        "the time limit was reached before any steady epoch",
        "try method='adaptive'",
    ),
    "variable-step-cost": CaveatKind(
        "note",
        "step times differ by {variation:.0%} (inputs of different length?); the range covers that as long as "
        "later data is like the data that was timed",
    ),
    "virtual-machine": CaveatKind(
        "note",
        "the CPU of a virtual machine sets the pace: other load on its host, which no counter shows, may change "
        "it within minutes, so the range is wider; finished runs in the store fit the range to this machine",
    ),
    "warm-up-share": CaveatKind(
        "note",
        "{one_off_s:.1f} s of the total are paid once, by the first step (compiling, tuning); a process that has "
        "already paid them takes that much less",
    ),
}


POWER_KINDS: Mapping[str, CaveatKind] = {
    "cpu-power-of-family": CaveatKind(
        "note",
        "{why}: its power is assumed to be {each}, for {count} threads",
        "pass tdp_w= if you know better",
    ),
    "cpu-power-unknown": CaveatKind(
        "act",
        "{why}: its power is assumed to be {each}, for {count} threads",
        "pass tdp_w= if you know better",
    ),
    "energy-counter-frozen": CaveatKind(
        "note",
        "the energy counter of {device} did not move during {frozen_s:.3g} s of work; power samples are used "
        "instead where there are any",
    ),
    "energy-counter-implausible": CaveatKind(
        "note",
        "the energy counter of {device} reads {counter_w:.3g} W, which is impossible; {instead}",
    ),
    "energy-counter-reset": CaveatKind(
        "note",
        "the energy counter of {device} restarted {count} time(s); power samples fill the gaps where there are any",
    ),
    "power-gaps": CaveatKind(
        "note",
        "{device} was metered for {share:.0%} of the time; {filled}",
    ),
    "gpu-index-ignored": CaveatKind(
        "note",
        "gpu_index={index} is not the board that the training runs on; NVML finds that to be {found}, which is metered",
    ),
    "gpu-shared": CaveatKind(
        "act",
        "{count} other process(es) use the board; its whole power is counted, theirs included",
        "run alone for a figure of this training",
    ),
    "ranks-share-boards": CaveatKind(
        "note",
        "{ranks} ranks train on {boards} board(s): each board is counted once, and offers have as many",
    ),
    "idle-not-measured": CaveatKind(
        "note",
        "idle power was not measured on every device, so the energy is gross",
    ),
    "mig-whole-board": CaveatKind(
        "wrong-without",
        "the training runs on a slice (MIG) of a board with a single sensor: the energy is the whole board's",
    ),
    "power-meter-hung": CaveatKind(
        "wrong-without",
        "{what}; {instead}",
    ),
    "power-meter-lost": CaveatKind(
        "wrong-without",
        "{device} stopped answering while it was metered",
    ),
    "power-modelled": CaveatKind(
        "act",
        "power is modelled, not metered: {devices}; it may be off by a factor of {factor:.1f}",
        "pass tdp_w= or run where the meter can be read",
    ),
    "power-not-metered": CaveatKind(
        "note",
        "{device} could not be metered: {why}",
    ),
    "power-sources-disagree": CaveatKind(
        "note",
        "{device} drew {counter_w:.4g} W by its energy counter and {sampled_w:.4g} W by its power samples; the "
        "counter is used and the range covers both",
    ),
    "power-unknown": CaveatKind(
        "act",
        "the power of {device} is neither metered nor in a table",
        "pass tdp_w= for energy, cost and CO2e",
    ),
    "short-energy-window": CaveatKind(
        "note",
        "the power of {device} rests on {window_s:.2g} s of steady training, less than {wanted_s:g} s, so its "
        "range is wider",
        "raise budget_s",
    ),
}
