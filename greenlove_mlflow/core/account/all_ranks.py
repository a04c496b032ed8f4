"""One log of what the ranks of a training measured: the slowest rank's time, the power of all."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from greenlove_mlflow.core.records import BenchmarkLog, BlockRecord, EpochRecord, PowerReading


@dataclass(frozen=True, slots=True, kw_only=True)
class RankRecords:
    """The part of a rank's benchmark that differs from rank to rank.

    Args:
        epochs: Its passes.
        blocks: Blocks of its timed passes.
        first_contact_steps_s: Durations of its very first steps, seconds.
        power: A reading of each device that it meters; empty if other ranks meter them all.
        validation_s: Its validation pass, seconds; 0 when there is none.
        peak_reserved_gib: Peak memory of its device, GiB; None on a CPU.
    """

    epochs: tuple[EpochRecord, ...]
    blocks: tuple[BlockRecord, ...] = ()
    first_contact_steps_s: tuple[float, ...] = ()
    power: tuple[PowerReading, ...] = ()
    validation_s: float = 0.0
    peak_reserved_gib: float | None = None

    @classmethod
    def of(cls, log: BenchmarkLog) -> RankRecords:
        """The records of a rank's own log."""
        return cls(**{field.name: getattr(log, field.name) for field in dataclasses.fields(cls)})

    @property
    def step_s(self) -> float:
        """Mean of the timed steps, else of the first ones, seconds; 0 without any."""
        timed = [each for each in self.epochs if each.phase == "timed"] or list(self.epochs)
        steps = sum(each.step_count for each in timed)
        return math.fsum(each.duration_s for each in timed) / steps if steps else 0.0


def log_of_ranks(own: BenchmarkLog, others: Mapping[int, RankRecords], boards: Sequence[str | None]) -> BenchmarkLog:
    """The log of all ranks: the passes of the slowest, the power of every board and machine, the largest memory.

    Args:
        own: Rank 0's log.
        others: The records of the other ranks; a rank that sent none is taken for as fast as the rest, and its board
            for drawing their mean.
        boards: The board of each rank, by rank; None for a CPU. What ranks on one board need of its memory adds up.
    """
    slowest = max((RankRecords.of(own), *others.values()), key=lambda each: each.step_s)
    peaks = {0: own.peak_reserved_gib, **{rank: each.peak_reserved_gib for rank, each in others.items()}}
    on_own_board = sum(board is not None and board == boards[0] for board in boards) or 1
    return dataclasses.replace(
        own,
        epochs=slowest.epochs,
        blocks=slowest.blocks,
        first_contact_steps_s=slowest.first_contact_steps_s,
        validation_s=max(own.validation_s, *(each.validation_s for each in others.values()), 0.0),
        peak_reserved_gib=_peak_gib(peaks, boards),
        fixed_memory_gib=None if own.fixed_memory_gib is None else own.fixed_memory_gib * on_own_board,
        power=_all_power(own.power, {rank: each.power for rank, each in others.items()}, board_count(boards)),
    )


def board_count(boards: Sequence[str | None]) -> int:
    """Number of boards that ranks train on; a rank on a CPU counts as one.

    >>> board_count(("a", "a", "b")), board_count((None, None))
    (2, 2)
    """
    return len({rank if board is None else board for rank, board in enumerate(boards)})


def _peak_gib(peaks: Mapping[int, float | None], boards: Sequence[str | None]) -> float | None:
    """The largest peak of a board: the sum of its ranks'."""
    of_boards: dict[object, float] = {}
    for rank, peak in peaks.items():
        if peak is not None:
            board = rank if boards[rank] is None else boards[rank]
            of_boards[board] = of_boards.get(board, 0.0) + peak
    return max(of_boards.values(), default=None)


def _all_power(
    own: tuple[PowerReading, ...], others: Mapping[int, tuple[PowerReading, ...]], board_count: int
) -> tuple[PowerReading, ...]:
    """Every device once, under a name of its own; a board that nothing is known of draws the mean of the others."""
    power = list(own)
    if not power:
        return ()  # the training device of rank 0 is unknown, so a sum would be too small
    for rank, readings in others.items():
        for reading in readings:
            name = name_apart(reading.device, rank, {each.device for each in power})
            power.append(dataclasses.replace(reading, device=name))
    boards = [each for each in power if each.device.startswith("gpu")]
    for number in range(board_count - len(boards) if boards else 0):
        mean_w = math.fsum(each.power_w for each in boards) / len(boards)
        note = "not read; the mean of the other boards"
        power.append(dataclasses.replace(boards[0], device=f"gpu_unread_{number}", power_w=mean_w, note=note))
    return tuple(power)


def name_apart(device: str, rank: int, taken: set[str]) -> str:
    """The name of a rank's device, with the rank in it where another rank's device is called the same.

    >>> name_apart("gpu_1", 1, {"gpu_0"}), name_apart("gpu_0", 1, {"gpu_0", "cpu"}), name_apart("cpu", 8, {"cpu"})
    ('gpu_1', 'gpu_0_rank_1', 'cpu_rank_8')
    """
    return device if device not in taken else f"{device}_rank_{rank}"
