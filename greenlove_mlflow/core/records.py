"""Records of what was measured: epochs, blocks of steps, power, the machine. They never change."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from typing import Literal

from greenlove_mlflow.core.machine_signals import NOTHING_READ, MachineSignals
from greenlove_mlflow.errors import InvalidInputError

# first-contact: the first steps, including one-off costs; revisit: a second pass over the same samples; timed: passes
# that the adaptive estimate is based on; scaling: short epochs at other sizes; exploration, warm-up and steady: the
# original's method; validation: the user's validation pass; train: an epoch of the actual training.
Phase = Literal[
    "first-contact", "revisit", "timed", "scaling", "exploration", "warm-up", "steady", "validation", "train"
]
EnergySource = Literal["counter", "sampled", "modelled", "given"]
Method = Literal["adaptive", "original"]
# data: waiting for batches; host: launching the work; device: the board itself; cpu: the training runs on the CPU,
# where host and device are the same.
BoundBy = Literal["data", "host", "device", "cpu"]


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochRecord:
    """One pass over some samples, whole or truncated.

    Args:
        epoch_index: Running index of the record in its log, from 0.
        phase: Purpose of the pass.
        sample_count: Samples processed.
        step_count: Optimizer steps, at least 1.
        duration_s: Seconds from requesting the first batch until the device is idle after the last step.
        whole: Whether the pass ran to the end of its data instead of being cut short.
        start_s: Seconds from the start of the benchmark (of the training, for ``train``).
        data_wait_s: Seconds of the duration spent waiting for batches; None when not measured.
        first_wait_s: Seconds of the wait spent on the first batch, including a fresh iterator and its workers; None
            when not measured.
        cpu_s: CPU seconds of this process during the pass; None when not measured.
        energy_j: Joules drawn by the metered devices during the pass; None when not measured.
        close_s: Seconds that ending an unfinished pass took (workers shutting down), not part of the duration.
        step_sd_s: SD of the steps within a block of about half a second, measured on the host, seconds; None when
            there were too few.
        begins_fresh: Whether it started with the loader's first batch; False for one timed from the middle of a real
            epoch on.
    """

    epoch_index: int
    phase: Phase
    sample_count: int
    step_count: int
    duration_s: float
    whole: bool
    start_s: float = 0.0
    data_wait_s: float | None = None
    cpu_s: float | None = None
    energy_j: float | None = None
    close_s: float = 0.0
    step_sd_s: float | None = None
    begins_fresh: bool = True
    first_wait_s: float | None = None

    def __post_init__(self) -> None:
        if self.sample_count < 1 or self.step_count < 1:
            raise InvalidInputError(f"an epoch record needs samples and steps, got {self}")
        if not self.duration_s > 0.0:
            raise InvalidInputError(f"an epoch record needs a duration above 0 s, got {self.duration_s}")

    def scaled_s(self, sample_count: int) -> float:
        """Its duration scaled in proportion to ``sample_count`` samples, seconds."""
        return self.duration_s * sample_count / self.sample_count


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockRecord:
    """Consecutive steps of one pass, about half a second of them, the device synchronised at both edges.

    Args:
        epoch_index: The epoch record the block belongs to.
        phase: The phase of that record.
        start_s: Seconds from the start of the benchmark.
        step_count: Steps in the block, at least 1.
        duration_s: Seconds, including fetching the batches.
        data_wait_s: Seconds of the duration spent waiting for batches.
        cpu_s: CPU seconds of this process during the block; None when not measured.
        is_first_use: Whether it is a single step with a new batch shape: kernels, heuristics and memory are paid for
            once per shape.
    """

    epoch_index: int
    phase: Phase
    start_s: float
    step_count: int
    duration_s: float
    data_wait_s: float = 0.0
    cpu_s: float | None = None
    is_first_use: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PowerSample:
    """One reading of one device's power: ``at_s`` seconds from the start of the benchmark, watts."""

    at_s: float
    device: str
    power_w: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PowerReading:
    """The power of one device over the metered window, and how it is known.

    Args:
        device: ``gpu_0``, ``cpu`` or ``ram``.
        power_w: Mean power while training, watts.
        log_half_width: Half-width of its 95% range on the log scale.
        source: ``counter``, ``sampled``, ``modelled`` or ``given``.
        window_s: Seconds that were metered; None for a modelled or given reading.
        energy_j: Joules over that window; None for a modelled or given reading.
        sampled_power_w: Mean of the samples, watts, to compare with the counter; None unless there are both.
        idle_power_w: Power before the benchmark began, watts; None when not measured.
        note: Text on where the figure comes from ("board counter", "TDP 350 W x 0.70").
    """

    device: str
    power_w: float
    log_half_width: float
    source: EnergySource
    window_s: float | None = None
    energy_j: float | None = None
    sampled_power_w: float | None = None
    idle_power_w: float | None = None
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """The machine that was benchmarked; a text is None when it could not be read.

    Args:
        device: ``cuda:0``, ``cpu``, ``mps``: where the training runs.
        gpu_name: Name by NVML or torch of the board trained on; None when training on the CPU.
        gpu_id: Key of the specs table for that name; None when it is in no table.
        gpu_memory_gib: Memory of the board, GiB.
        visible_cpu_count: Cores this process may use.
        host: A hash of the host's name: distinguishes machines without naming them.
    """

    device: str
    gpu_name: str | None = None
    gpu_id: str | None = None
    gpu_uuid: str | None = None
    gpu_memory_gib: float | None = None
    driver_version: str | None = None
    torch_version: str | None = None
    cuda_version: str | None = None
    cpu_name: str | None = None
    visible_cpu_count: int = 1
    memory_gib: float | None = None
    os_name: str | None = None
    host: str = ""

    @property
    def fingerprint(self) -> str:
        """Twelve hexadecimal digits, equal for runs on the same machine and device."""
        text = "|".join(
            [
                self.host,
                self.device.split(":")[0],
                self.gpu_name or "",
                self.cpu_name or "",
                str(self.visible_cpu_count),
            ]
        )
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    @property
    def processor_name(self) -> str:
        """The name of what the training runs on: the GPU's, else the CPU's, else the device."""
        return self.gpu_name or self.cpu_name or self.device


@dataclass(frozen=True, slots=True, kw_only=True)
class StepProfile:
    """Where the time of a training step goes; None where it was not measured.

    The parts overlap: a step takes about as long as the longest of them, so they give proportions, while the measured
    step gives the seconds. Counts are means over the profiled steps and need not be whole.

    Args:
        loader_s: Seconds per batch that the loader alone sustains, from a pass without training; 0 where the main
            thread loads the data; None if unmeasured, which means anything from 0 to the whole step.
        fetch_s: Seconds that the main thread spends on getting a batch, including in-process loading but not waiting.
        host_s: Seconds of the step function itself with an empty queue, without the time blocked in synchronisation
            and blocking copies. On a CPU, all of the step function.
        device_busy_s: Total kernel time of a step, seconds; None on a CPU.
        launch_count: Kernels that a step launches. On a CPU: those it would launch on a GPU, by operator counts.
        flop_count: Floating-point operations of a step.
        moved_bytes: Bytes that the operators of a step read and write.
        sync_count: How often a step makes the host wait for the device.
        dispatch_s: Seconds per launch on this machine's host; measured on a CPU, where ``host_s`` does not show it.
        on_cpu: Whether the training runs on the CPU.
        busy_is_upper_bound: Whether ``device_busy_s`` is the board's utilisation times the step, which counts a tiny
            kernel as a busy board.
        reason: Text on why something is None; empty when nothing is missing.

    Raises:
        InvalidInputError: If a figure is negative or not finite, or a CPU has a busy device.
    """

    loader_s: float | None = None
    fetch_s: float | None = None
    host_s: float | None = None
    device_busy_s: float | None = None
    launch_count: float | None = None
    flop_count: float | None = None
    moved_bytes: float | None = None
    sync_count: float | None = None
    dispatch_s: float | None = None
    on_cpu: bool = False
    busy_is_upper_bound: bool = False
    reason: str = ""

    def __post_init__(self) -> None:
        for name in _PROFILE_FIGURES:
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value >= 0.0):
                raise InvalidInputError(f"the {name} of a step profile cannot be {value}")
        if self.on_cpu and self.device_busy_s is not None:
            raise InvalidInputError("a training on the CPU keeps no device busy; leave device_busy_s out")

    @property
    def step_thread_s(self) -> float | None:
        """Seconds of the main thread per step: its batch and its work; None when the work is unmeasured."""
        return None if self.host_s is None else (self.fetch_s or 0.0) + self.host_s

    @property
    def longest_s(self) -> float | None:
        """Seconds of the longest part, about those of the step; None if a part that may be longest is unmeasured.

        >>> StepProfile(loader_s=0.001, fetch_s=0.002, host_s=0.049, device_busy_s=0.020).longest_s
        0.051000000000000004
        """
        thread_s, busy_s = self.step_thread_s, 0.0 if self.on_cpu else self.device_busy_s
        if thread_s is None or busy_s is None:
            return None
        return max(self.loader_s or 0.0, thread_s, busy_s) or None

    @property
    def bound_by(self) -> BoundBy | None:
        """What the step is bound by; None if a part that may be the longest is unmeasured."""
        longest_s, thread_s = self.longest_s, self.step_thread_s
        if longest_s is None or thread_s is None:
            return None
        if self.device_busy_s == longest_s:
            return "device"
        if thread_s < longest_s or (self.fetch_s or 0.0) > (self.host_s or 0.0):
            return "data"
        return "cpu" if self.on_cpu else "host"

    @property
    def busy_share(self) -> float | None:
        """The share of the step in which the board is busy, 0 to 1; None when unmeasured or on a CPU."""
        longest_s = self.longest_s
        return None if longest_s is None or self.device_busy_s is None else self.device_busy_s / longest_s

    @property
    def least_step_share(self) -> float | None:
        """The share of the step that would remain if the board never waited, 0 to 1; None where unknown.

        It limits the gain by a larger batch, ``torch.compile``, CUDA graphs or more workers on the same board. A busy
        time that is an upper bound makes the share too large, never too small.

        >>> StepProfile(host_s=0.5, device_busy_s=0.25).least_step_share
        0.5
        """
        return self.busy_share if self.bound_by in ("data", "host") else None


# A host that needs less of a step than this may slow down without any effect on the step.
FREE_HOST_SHARE = 0.6
_PROFILE_FIGURES = tuple(name for name in StepProfile.__slots__ if name.endswith(("_s", "_count", "_bytes")))


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchmarkLog:
    """Everything that one benchmark measured; it never changes, and any number of estimates can be made from it.

    Args:
        method: Which benchmark method ran.
        machine: The machine it ran on.
        sample_count: Samples in one epoch of the planned run.
        batch_size: Samples in a full batch of the user's loader.
        steps_per_epoch: Batches in one epoch of the planned run.
        epochs: One record per pass, in the order they ran.
        blocks: Blocks of the timed passes, in the order they ran.
        power: One reading per metered or modelled device.
        power_samples: Raw readings, at most about ten a second.
        started_at: When the benchmark began, ISO 8601 in UTC.
        duration_s: Total length of the benchmark, seconds.
        stop_reason: Why it ended: ``precise``, ``budget``, ``complete``, ``cap``.
        peak_allocated_gib: Peak device memory held by tensors, GiB; None on a CPU.
        peak_reserved_gib: Peak device memory held by the allocator, GiB; None on a CPU.
        fixed_memory_gib: The part of it that does not shrink with the batch (weights, buffers, gradients, optimizer
            state), GiB; None on a CPU.
        machine_signals: What the machine's counters said while the timed passes ran.
        loss_is_finite: False when a step returned a loss that is not finite; None when no step returned its loss.
        first_contact_steps_s: Durations of the very first steps one by one, seconds.
        workload_fingerprint: Equal for two benchmarks of the same model structure, batch, precision and data shape.
        precision: Precision of the training's matrix products (``fp16``, ``bf16``, ``tf32``, ``fp32``).
        model_kind: ``convolutional``, ``transformer``, ``recurrent`` or ``other``.
        parameter_count: Parameters of the model; None when not counted.
        worker_count: Processes that load the data.
        validation_s: One whole validation pass, as timed or extrapolated from a part of it, seconds; 0 when there is
            none.
        stated_steps_per_epoch: Batches stated by the caller or the loader, when the data held fewer; else None.
        warm_up_epoch_count: For the original's method, epochs at each size that are modelled separately.
        profile: Where the time of a step goes; None when not profiled.
        validation_profile: The same for a validation step.
    """

    method: Method
    machine: Machine
    sample_count: int
    batch_size: int
    steps_per_epoch: int
    epochs: tuple[EpochRecord, ...]
    blocks: tuple[BlockRecord, ...] = ()
    power: tuple[PowerReading, ...] = ()
    power_samples: tuple[PowerSample, ...] = ()
    started_at: str = ""
    duration_s: float = 0.0
    stop_reason: str = ""
    peak_allocated_gib: float | None = None
    peak_reserved_gib: float | None = None
    fixed_memory_gib: float | None = None
    machine_signals: MachineSignals = NOTHING_READ
    loss_is_finite: bool | None = None
    first_contact_steps_s: tuple[float, ...] = ()
    workload_fingerprint: str = ""
    precision: Literal["fp16", "bf16", "tf32", "fp32"] = "fp32"
    model_kind: str = "other"
    parameter_count: int | None = None
    worker_count: int = 0
    validation_s: float = 0.0
    stated_steps_per_epoch: int | None = None
    warm_up_epoch_count: int = 3
    profile: StepProfile | None = None
    validation_profile: StepProfile | None = None

    def __post_init__(self) -> None:
        if min(self.sample_count, self.batch_size, self.steps_per_epoch) < 1:
            raise InvalidInputError(f"a log needs samples, a batch size and steps, got {self.sample_count} samples")

    @property
    def virtual_share(self) -> float:
        """How far the run is bound by a virtual machine's CPU, 0 to 1; a GPU is passed through whole.

        1 on such a CPU, and on a GPU that waits for it; 0 where nothing was profiled or the host needs little of the
        step.
        """
        if not self.machine_signals.is_virtual:
            return 0.0
        if self.machine.device.split(":")[0] == "cpu":
            return 1.0
        profile = self.profile
        if profile is None:
            return 0.0
        longest_s, thread_s = profile.longest_s, profile.step_thread_s
        if longest_s is None or thread_s is None:
            return 1.0
        host_share = max(thread_s, profile.loader_s or 0.0) / longest_s
        return min(1.0, max(0.0, (host_share - FREE_HOST_SHARE) / (1.0 - FREE_HOST_SHARE)))

    def epochs_of(self, *phases: Phase) -> tuple[EpochRecord, ...]:
        """The records of those phases, in the order they ran."""
        return tuple(record for record in self.epochs if record.phase in phases)
