"""Ranks: the processes of a distributed training, and how they agree before and during it.

Messages go through the key-value store that ``init_process_group`` made, below a prefix of their own. So no collective
of the training waits for one of ours, a rank can leave a message without waiting for its reader, and no watchdog sees
any of it. A wait has an end, and ends at once when a rank reports its failure.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch

from greenlove_mlflow import errors
from greenlove_mlflow.core.account.all_ranks import board_count
from greenlove_mlflow.errors import BenchmarkError, GreenloveError, InvalidInputError

logger = logging.getLogger(__name__)

Result = TypeVar("Result")

# Ranks enter a training within seconds of each other, or when rank 0 has recorded the one before.
MEET_TIMEOUT_S = 300.0
# How long a rank that has entered waits for another, which may be asking its user or validating alone.
PATIENCE_S = 1800.0
_SHORTEST_PAUSE_S, _LONGEST_PAUSE_S, _PAUSE_GROWTH = 0.0002, 0.05, 1.5
_LEADER = 0
# One for each start of a Linux kernel, whatever containers run on it.
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def world_size(launched: int = 1) -> int:
    """Number of processes that train together: from ``torch.distributed``, else from the launcher.

    Args:
        launched: World size from the launcher.
    """
    return torch.distributed.get_world_size() if _is_initialized() else launched


def rank_of_process(launched: int = 0) -> int:
    """Rank of this process: from ``torch.distributed``, else from the launcher, which may not set RANK.

    Args:
        launched: Rank from the launcher.
    """
    return torch.distributed.get_rank() if _is_initialized() else launched


def _is_initialized() -> bool:
    return torch.distributed.is_available() and torch.distributed.is_initialized()


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One process of a training.

    Args:
        host: What tells its machine from others.
        pid: Its process id.
        asks: What it was called for, such as ``track(epochs=4)``; the same on all ranks.
    """

    host: str
    pid: int
    asks: str


class Ranks:
    """The processes of one training; made by ``meet``, on each of them.

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

    _met_count = 0

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
        """Process ids of the other ranks on this machine."""
        own = self.members[self.rank]
        return tuple(each.pid for each in self.members if each.host == own.host and each.pid != own.pid)

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

        return self._until(ask, "rank 0", timeout_s)

    def wait_for_others(self, name: str, *, timeout_s: float) -> dict[int, Any]:
        """The messages of the other ranks, as many as come in time; never raises."""
        begun_s, pause_s = time.perf_counter(), _SHORTEST_PAUSE_S
        while True:
            found = self.read_others(name)
            late = time.perf_counter() - begun_s >= timeout_s
            if len(found) == self.count - 1 or late or self.is_lost or self.failure:
                return found
            time.sleep(pause_s)
            pause_s = min(_LONGEST_PAUSE_S, pause_s * _PAUSE_GROWTH)

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

        value: float = self._until(ask, f"rank {rank}", PATIENCE_S)
        return value

    def _until(self, ask: Callable[[], Any], whom: str, timeout_s: float) -> Any:
        begun_s, pause_s = time.perf_counter(), _SHORTEST_PAUSE_S
        while (found := ask()) is None:
            if self.is_lost:
                raise BenchmarkError("the store of torch.distributed does not answer, so the ranks cannot agree")
            self._raise_failure_of_another()
            if time.perf_counter() - begun_s >= timeout_s:
                raise BenchmarkError(f"{whom} did not answer within {timeout_s:.0f} s")
            time.sleep(pause_s)
            pause_s = min(_LONGEST_PAUSE_S, pause_s * _PAUSE_GROWTH)
        return found

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


def meet(asks: str, launched: int = 1) -> Ranks | None:
    """The ranks of this training once all have come; None when this process trains alone.

    Args:
        asks: What the caller was asked to do, such as ``track(epochs=4)``.
        launched: World size from the launcher.

    Raises:
        InvalidInputError: If the ranks cannot talk to each other, do not all come, or ask for different things; nothing
            has run.
    """
    count = world_size(launched)
    if count == 1:
        return None
    if not _is_initialized():
        raise InvalidInputError(
            f"this is one of {count} processes, which must know each other before they are timed together: call "
            "torch.distributed.init_process_group first. Nothing has run"
        )
    rank = torch.distributed.get_rank()
    store = torch.distributed.distributed_c10d.PrefixStore(f"greenlove/{Ranks._met_count}", _default_store())
    member = Member(host=_host(), pid=os.getpid(), asks=asks)
    ranks = Ranks(store, rank=rank, members=(member,) * count)
    ranks.members = _introduce(ranks, member, count)
    Ranks._met_count += 1
    for other, each in enumerate(ranks.members):
        if each.asks != ranks.members[0].asks:
            raise InvalidInputError(
                f"the ranks ask for different things: rank 0 for {ranks.members[0].asks}, rank {other} for "
                f"{each.asks}. Nothing has run"
            )
    return ranks


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


def _introduce(ranks: Ranks, member: Member, count: int) -> tuple[Member, ...]:
    """The members by rank: each leaves its own, rank 0 puts them together."""
    ranks.post("hello", [member.host, member.pid, member.asks])
    if ranks.is_leader:
        hellos = {0: [member.host, member.pid, member.asks]} | ranks.wait_for_others("hello", timeout_s=MEET_TIMEOUT_S)
        missing = [rank for rank in range(count) if not hellos.get(rank)]
        if not missing:
            ranks.post("members", [hellos[rank] for rank in range(count)])
    else:
        try:
            ranks.wait_for("members", timeout_s=MEET_TIMEOUT_S)
            missing = []
        except BenchmarkError:
            missing = [0]
    found = None if missing else ranks.read("members")
    if found is None:
        ranks.post("hello", None)
        names = ", ".join(str(rank) for rank in missing or [0])
        raise InvalidInputError(
            f"this training has {count} ranks, and rank {names} did not come within {MEET_TIMEOUT_S:.0f} s: every rank "
            f"must call greenlove.{member.asks.split('(')[0]}. Nothing has run"
        )
    return tuple(Member(host=host, pid=pid, asks=asks) for host, pid, asks in found)


def _host() -> str:
    """What tells this machine from others; names alone may repeat, as in containers."""
    try:
        return _BOOT_ID.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return socket.gethostname()


def _default_store() -> Any:
    """The store that the ranks met at.

    Raises:
        InvalidInputError: If the process group has none, as with MPI.
    """
    from torch.distributed import distributed_c10d

    try:
        store = distributed_c10d._get_default_store()
    except (AttributeError, ValueError) as error:
        raise InvalidInputError(f"torch.distributed has no store that the ranks share: {error}") from error
    if store is None:
        raise InvalidInputError("torch.distributed has no store that the ranks share, as with MPI; use gloo or NCCL")
    return store


def _key(name: str, rank: int | None) -> str:
    return name if rank is None else f"{name}/{rank}"
