"""The constants of what drift to expect; the dated table ``drift_model`` has them with how each was chosen."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class DriftModel:
    """From what a benchmark showed and was told to the drift of the training after it.

    The defaults are those of the first version of the table, for fits where no table is read. SDs are of natural
    logarithms, shares are of the time of the timed passes, 0 to 1.

    Args:
        quiet_log_sd: Drift of a machine that is one's own, where counters say so.
        silent_log_sd: The same of a machine that says nothing: silence, or a calm that no counter has been seen to
            break, is no evidence.
        shared_log_sd: Further drift of a machine that others use.
        unseen_bursts_log: On a shared machine a training takes so much longer, on average, than a benchmark of
            seconds saw: bursts are rare.
        largest_log_sd: No drift above it is expected.
        middle_roughness: Roughness at which a machine whose counters tell is as likely shared as quiet.
        silent_middle_roughness: The same of one that says nothing: only its pace can tell.
        steepness: How sharply that changes.
        peak_per_sd: A peak of a block counts as much as so many times less of an SD.
        drift_per_roughness: Rough machines drift more than smooth ones, shared or not.
        drift_per_contention: What others take is not taken evenly: the part that may be gone, or doubled, later.
        busy_share: Share above which somebody else is there for sure.
        told_share: Share from which on a counter has been seen to count.
        calm_neighbours_share: What others may compute, on cores that the training does not need, and tell nothing.
        busy_neighbours_share: Of that, the share from which on they share its cache, memory and clock for sure.
        crowded_load_ratio: The training itself loads its cores; so many times that load is others for sure.
        throttled_log_sd: Further drift while heat or power hold the clock down.
        virtual_log_sd: Further drift of a virtual machine, whose neighbours no counter of its own shows.
    """

    quiet_log_sd: float = 0.014
    silent_log_sd: float = 0.020
    shared_log_sd: float = 0.055
    unseen_bursts_log: float = 0.012
    largest_log_sd: float = 0.20
    middle_roughness: float = 0.018
    silent_middle_roughness: float = 0.0115
    steepness: float = 6.0
    peak_per_sd: float = 2.5
    drift_per_roughness: float = 0.35
    drift_per_contention: float = 0.25
    busy_share: float = 0.03
    told_share: float = 0.002
    calm_neighbours_share: float = 0.05
    busy_neighbours_share: float = 0.10
    crowded_load_ratio: float = 1.2
    throttled_log_sd: float = 0.06
    virtual_log_sd: float = 0.10
