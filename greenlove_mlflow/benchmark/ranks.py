"""Ranks: the processes of a distributed training, and how they agree before and during it.

Messages go through the key-value store that ``init_process_group`` made, below a prefix of their own. So no collective
of the training waits for one of ours, a rank can leave a message without waiting for its reader, and no watchdog sees
any of it. A wait has an end, and ends at once when a rank reports its failure.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

import psutil
import torch

from greenlove_mlflow import errors
from greenlove_mlflow.core.account.all_ranks import board_count
from greenlove_mlflow.errors import BenchmarkError, GreenloveError

logger = logging.getLogger(__name__)

Result = TypeVar("Result")

# How long a rank that has entered waits for another, which may be asking its user or validating alone.
PATIENCE_S = 1800.0
_SHORTEST_PAUSE_S, _LONGEST_PAUSE_S, _PAUSE_GROWTH = 0.0002, 0.05, 1.5
_LEADER = 0
# How often a wait looks whether the process it waits for is alive.
_LOOK_ALIVE_S = 1.0


def world_size(launched: int = 1) -> int:
    """Number of processes that train together: from ``torch.distributed``, else from the launcher.

    Args:
        launched: World size from the launcher.
    """
    return torch.distributed.get_world_size() if is_initialized() else launched


def is_initialized() -> bool:
    """Whether ``init_process_group`` has been called."""
    return torch.distributed.is_available() and torch.distributed.is_initialized()


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One process of a training.

    Args:
        host: What tells its machine from others.
        pid: Its process id.
        asks: What it was called for, such as ``track(epochs=4)``; the same on all ranks.
        pid_space: What tells process ids of its container from those of others on the machine.
    """

    host: str
    pid: int
    asks: str
    pid_space: str = ""

    def to_plain(self) -> dict[str, Any]:
        """The fields by name, for JSON."""
        return asdict(self)


class Ranks:
    """The processes of one training, on each of them.

    ``post`` and ``read`` never raise and never wait: a store that fails is given up, and from then on nothing is read.
    The other methods wait for other ranks, and raise when one of them fails or does not come.

    Args:
        store: Where messages are left, under names of this training alone.
        rank: Rank of this process.
        members: The processes, by rank.

    Attributes:
        boards: The board that each rank trains on, by rank; None for a CPU, and as long as it has not been shared.
        is_lost: Whether the store has failed.
    """

    def __init__(self, store: Any, *, rank: int, members: Sequence[Member]) -> None:
        self.rank = rank
        self.members = tuple(members)
        self.boards: tuple[str | None, ...] = (None,) * len(self.members)
        self.is_lost = False
        self._store = store
        self._turn = 0

    @property
    def count(self) -> int:
        """Number of ranks."""
        return len(self.members)

    @property
    def is_leader(self) -> bool:
        """Whether this is rank 0, which fits, records and decides."""
        return self.rank == _LEADER

    @property
    def counts_host(self) -> bool:
        """Whether this rank meters CPU and memory of its machine, as one rank of each does."""
        return all(member.host != self.members[self.rank].host for member in self.members[: self.rank])

    @property
    def counts_board(self) -> bool:
        """Whether this rank meters its board, as one rank of each board does; true on a CPU."""
        own = self.boards[self.rank]
        return own is None or own not in self.boards[: self.rank]

    @property
    def board_count(self) -> int:
        """Number of boards that the ranks train on; as many as there are ranks on CPUs."""
        return board_count(self.boards)

    def share_board(self, board: str | None) -> None:
        """Tell the other ranks which board of its machine this one trains on; each rank must, in the same order."""
        self.post("board", [board if board is None else f"{self.members[self.rank].host} {board}"])
        self.agree(0.0)
        found = [self.read("board", rank=rank) for rank in range(self.count)]
        self.boards = tuple(None if each is None else each[0] for each in found)

    @property
    def neighbour_pids(self) -> tuple[int, ...]:
        """Process ids of the other ranks on this machine, if this process sees them."""
        return tuple(each.pid for each in self._neighbours.values())

    @property
    def dead(self) -> list[int]:
        """The ranks on this machine whose process has ended, in whatever way."""
        return [rank for rank, each in self._neighbours.items() if not _is_alive(each.pid)]

    @property
    def _neighbours(self) -> dict[int, Member]:
        own = self.members[self.rank]
        others = {rank: each for rank, each in enumerate(self.members) if each.pid != own.pid}
        return {rank: each for rank, each in others.items() if (each.host, each.pid_space) == (own.host, own.pid_space)}

    @property
    def failure(self) -> str:
        """Which rank failed and why; empty while none has."""
        found = self.read("failure", rank=None)
        return found if isinstance(found, str) else ""

    def post(self, name: str, value: Any, *, rank: int | None = -1) -> None:
        """Leave a message, in place of an earlier one of that name.

        Args:
            name: Name of the message.
            value: What JSON can hold.
            rank: Whose message it is; this rank's by default, None for one that all ranks share.
        """
        if self.is_lost:
            return
        try:
            self._store.set(_key(name, self.rank if rank == -1 else rank), json.dumps(value))
        except Exception as error:  # noqa: BLE001 - a store raises whatever its connection does
            self._lose(error)

    def read(self, name: str, *, rank: int | None = _LEADER) -> Any:
        """The message that a rank left; None if there is none.

        Args:
            name: Name of the message.
            rank: Whose message it is; rank 0's by default, None for one that all ranks share.
        """
        if self.is_lost:
            return None
        key = _key(name, rank)
        try:
            return json.loads(self._store.get(key)) if self._store.check([key]) else None
        except Exception as error:  # noqa: BLE001 - as above
            self._lose(error)
            return None

    def claim(self, name: str, value: str) -> str:
        """What the first rank that claimed a name has claimed it for: ``value`` if it was this one."""
        if self.is_lost:
            return value
        try:
            return bytes(self._store.compare_set(_key(name, None), "", value)).decode()
        except Exception as error:  # noqa: BLE001 - as above
            self._lose(error)
            return value

    def read_others(self, name: str) -> dict[int, Any]:
        """The messages that the other ranks have left, by rank."""
        found = {rank: self.read(name, rank=rank) for rank in range(self.count) if rank != self.rank}
        return {rank: value for rank, value in found.items() if value is not None}

    def wait_for(
        self, name: str, *, timeout_s: float = PATIENCE_S, is_due: Callable[[Any], bool] = lambda found: True
    ) -> Any:
        """The message that rank 0 left or will leave.

        Args:
            name: Name of the message.
            timeout_s: Seconds to wait at most.
            is_due: Whether a message is the one waited for, rather than an earlier one of that name.

        Raises:
            GreenloveError: If a rank fails meanwhile, or the message does not come in time.
        """

        def ask() -> Any:
            found = self.read(name)
            return found if found is not None and is_due(found) else None

        return self._until(ask, _LEADER, timeout_s)

    def wait_for_others(self, name: str, *, timeout_s: float) -> dict[int, Any]:
        """The messages of the other ranks, as many as come in time; never raises."""
        found: dict[int, Any] = {}
        for _ in waiting(timeout_s):
            found = self.read_others(name)
            if len(found) == self.count - 1 or self.is_lost or self.failure:
                break
        return found

    def agree(self, value: float) -> float:
        """The largest of the values that all ranks give; each rank must ask, and in the same order.

        Raises:
            BenchmarkError: If a rank fails or does not come.
        """
        self._turn += 1
        turn = self._turn
        self.post("agree", [turn, value])
        if self.is_leader:
            values = [value, *(self._value_of(rank, "agree", turn) for rank in range(1, self.count))]
            self.post("agreed", [turn, max(values)])
            return max(values)
        return self._value_of(_LEADER, "agreed", turn)

    def together(self, work: Callable[[], Result]) -> Result:
        """Do the same on all ranks before any of them goes on; where one rank fails, all of them do.

        Raises:
            GreenloveError: What ``work`` raised on another rank; what it raised here is raised as it is.
        """
        try:
            result = work()
        except BaseException as error:
            self.fail(error)
            raise
        self.agree(0.0)
        return result

    def from_leader(self, work: Callable[[], Any]) -> Any:
        """What ``work`` returns on rank 0, on all ranks; it must be what JSON can hold."""
        name = f"leader-{self._turn}"
        if self.is_leader:
            self.post(name, [self.together(work)])
        else:
            self.together(lambda: None)
        return self.wait_for(name)[0]

    def fail(self, error: BaseException) -> None:
        """Tell the other ranks that this one has failed."""
        text = str(error) or type(error).__name__
        self.post("failed", {"kind": type(error).__name__, "text": text})
        self.post("failure", f"rank {self.rank}: {type(error).__name__}: {text}", rank=None)

    def _value_of(self, rank: int, name: str, turn: int) -> float:
        def ask() -> float | None:
            found = self.read(name, rank=rank)
            return float(found[1]) if found is not None and found[0] >= turn else None

        value: float = self._until(ask, rank, PATIENCE_S)
        return value

    def _until(self, ask: Callable[[], Any], rank: int, timeout_s: float) -> Any:
        """What ``ask`` finds once it finds something, which a rank has left."""
        looked_s = 0.0
        for waited_s in waiting(timeout_s):
            is_dead = False
            if waited_s - looked_s >= _LOOK_ALIVE_S:
                looked_s, is_dead = waited_s, rank in self.dead  # before the last look at what it may have left
            if (found := ask()) is not None:
                return found
            if self.is_lost:
                raise BenchmarkError("the store of torch.distributed does not answer, so the ranks cannot agree")
            self._raise_failure_of_another()
            if is_dead:
                raise BenchmarkError(words_on_death([rank]))
        raise BenchmarkError(f"rank {rank} did not answer within {timeout_s:.0f} s")

    def _raise_failure_of_another(self) -> None:
        said = self.failure
        if not said or said.startswith(f"rank {self.rank}:"):
            return
        failed = self.read("failed", rank=int(said.split(":")[0].removeprefix("rank ")))
        kind = None if failed is None else getattr(errors, str(failed["kind"]), None)
        if failed is None or not (isinstance(kind, type) and issubclass(kind, GreenloveError)):
            raise BenchmarkError(said)
        raise kind(f"{said.split(': ', 1)[0]}: {failed['text']}")

    def _lose(self, error: Exception) -> None:
        self.is_lost = True
        logger.warning("rank %d can no longer reach the other ranks: %s", self.rank, error)


def on_all_ranks(ranks: Ranks | None, work: Callable[[], Result]) -> Result:
    """What ``work`` returns, once it has on all ranks; a training without ranks just does it."""
    return work() if ranks is None else ranks.together(work)


@contextmanager
def failing_together(ranks: Ranks | None) -> Iterator[None]:
    """A block in which all ranks wait for each other; where one fails, the others are told."""
    try:
        yield
    except BaseException as error:
        if ranks is not None and not ranks.failure:
            ranks.fail(error)
        raise


def waiting(timeout_s: float) -> Iterator[float]:
    """Seconds waited so far, again and again, with pauses that grow; ends after the last look at ``timeout_s``."""
    begun_s, pause_s = time.perf_counter(), _SHORTEST_PAUSE_S
    while True:
        waited_s = time.perf_counter() - begun_s
        yield waited_s
        if waited_s >= timeout_s:
            return
        time.sleep(pause_s)
        pause_s = min(_LONGEST_PAUSE_S, pause_s * _PAUSE_GROWTH)


def words_on_death(ranks: Sequence[int]) -> str:
    """Which ranks died, as text."""
    numbers = ", ".join(map(str, ranks))
    return f"rank{'s' if len(ranks) > 1 else ''} {numbers} died without an error"


def _is_alive(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False


def _key(name: str, rank: int | None) -> str:
    return name if rank is None else f"{name}/{rank}"
