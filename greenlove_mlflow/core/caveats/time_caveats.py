"""Caveats of the time: what a benchmark measured or could not measure."""

from __future__ import annotations

from collections.abc import Mapping

from greenlove_mlflow.core.caveats.kind import CaveatKind

KINDS: Mapping[str, CaveatKind] = {
    "affine-fit-poor": CaveatKind(
        "note",
        "a straight line explains only {r2:.0%} of how time grows with the data; plans for other sample counts are "
        "less sure than the range says",
    ),
    "autocorrelation": CaveatKind(
        "note",
        "slow and fast stretches last for seconds, so few of them were seen; the range is wider for it",
    ),
    "batch-quantisation": CaveatKind(
        "note",
        "an epoch is {step_count} steps of up to {batch_size} samples: its time moves in jumps of a whole batch; a "
        "plan for other sample counts is rounded to whole batches",
    ),
    "benchmark-within": CaveatKind(
        "note",
        "the estimate comes from the first seconds of the training itself: nothing was run before it, and what comes "
        "later in an epoch (its end, validation) counts only as far as it was seen",
    ),
    "cold-cache": CaveatKind(
        "note",
        "data is cheaper on its second visit, so the first epoch is slower than the others; the estimate counts it "
        "apart, for a process that starts with a cold cache",
    ),
    "contention": CaveatKind(
        "act",
        "this machine is shared: {seen} during the benchmark, so the range is wider; alone on it the training would "
        "take about {alone}",
        "benchmark again when it is quiet",
    ),
    "data-bound": CaveatKind(
        "act",
        "{share:.0%} of the time goes to waiting for data",
        "{advice}, or load it faster",
    ),
    "drift": CaveatKind(
        "act",
        "a step's time moved by {change:+.1%} while it was measured (a machine warming up or throttling, or a "
        "neighbour who came); {counted}",
        "benchmark again on a warm, quiet machine",
    ),
    "epoch-shorter-than-stated": CaveatKind(
        "act",
        "the data ended after {step_count} batches, not {stated_count}; the estimate counts what came",
        "correct steps_per_epoch or the data",
    ),
    "extrapolation": CaveatKind(
        "note",
        "the training is {factor:,.0f} times as long as the benchmark; the machine may change in that time, so the "
        "range is wider",
        "follow the forecast once it runs",
    ),
    "few-steps": CaveatKind(
        "act",
        "steps are so slow that the estimate rests on the first {count} of them",
        "raise budget_s",
    ),
    "host-bound": CaveatKind(
        "act",
        "the training is bound by the host: the GPU works {busy_share:.0%} of the time, and no faster GPU makes it "
        "faster; the same on this GPU could take {least_share:.2f} of the time",
        "a larger batch, torch.compile or CUDA graphs give the GPU more to do",
    ),
    "loss-not-finite": CaveatKind(
        "act",
        "a training step gave a loss that is not finite; the time is right, the training is not",
        "lower the learning rate or look at the data",
    ),
    "no-end-known": CaveatKind(
        "note",
        "nobody said when this training ends, so the estimate is of one lap of it",
        "pass steps= or epochs=",
    ),
    "one-off-paid": CaveatKind(
        "note",
        "{one_off_s:.1f} s of compiling and tuning were paid in the benchmark, so that this training does not pay them "
        "again and its figures leave them out; a fresh process, here or on an offer, does",
    ),
    "overhead-share": CaveatKind(
        "note",
        "{share:.0%} of an epoch ({overhead_s:.2f} s) does not grow with its steps (workers and iterators starting)",
        "persistent_workers=True saves it",
    ),
    "plan-differs": CaveatKind(
        "act",
        "the training took {steps:,.0f} optimizer steps, the plan was another: its laps are cut to what was trained, "
        "and nothing is learned from how far it was off",
        "state batch_size=, steps_per_epoch= or accumulation=",
    ),
    "original-range": CaveatKind(
        "wrong-without",
        "this range is the original's: it leaves out how unsure the mean is, how the machine drifts and what small "
        "sizes cost beside their samples, so it holds the truth far less often than 95 %",
        "method='adaptive' counts them",
    ),
    "smaller-than-a-batch": CaveatKind(
        "act",
        "the data has {sample_count} samples, fewer than one batch of {batch_size}; every epoch is one small step, "
        "so nothing is learned about full batches",
        "lower batch_size",
    ),
    "spearman-low": CaveatKind(
        "act",
        "time does not grow steadily with the data (rank correlation {rho:.2f}, at least {least_rho} is expected)",
        "benchmark on a quieter machine before planning other sizes",
    ),
    "steps-only": CaveatKind(
        "act",
        "only training steps are counted; validation and checkpoints come on top",
        "pass validation= or extra_per_epoch_s=",
    ),
    "superlinear": CaveatKind(
        "act",
        "time grows faster than the data (by {bend:.0%} beyond a straight line at the largest size): kernel methods, "
        "graphs and growing inputs do so",
        "time whole epochs, raise budget_s",
    ),
    "throttling": CaveatKind(
        "act",
        "the GPU was {seen} while it was measured; a long training runs hotter and slower",
        "check cooling and power limit, or raise budget_s",
    ),
    "too-few-epochs": CaveatKind(
        "act",
        "the cap came before any steady epoch",
        "try method='adaptive'",
    ),
    "variable-step-cost": CaveatKind(
        "note",
        "single steps differ by {variation:.0%} (inputs of different length?); the range covers it as long as later "
        "data is like the data that was timed",
    ),
    "virtual-machine": CaveatKind(
        "note",
        "the CPU is that of a virtual machine and sets the pace: neighbours that no counter shows may change it within "
        "minutes, so the range is wider; finished runs in the store fit it to what this machine really does",
    ),
    "warm-up-share": CaveatKind(
        "note",
        "{one_off_s:.1f} s of the total are paid once, by the first step (compiling, tuning); in a process that has "
        "paid them already the training is that much shorter",
    ),
}
