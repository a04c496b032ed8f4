"""How the ranks of a training meet before anything runs, and learn who they are.

Rank 0 calls, the others answer its call, and what they say from then on goes under a name that nobody used before. So
what an earlier training left in the same store, or ranks that a launcher has replaced, is not taken for theirs.
"""

from __future__ import annotations

import os
import socket
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from greenlove_mlflow.benchmark.ranks import Member, Ranks, is_initialized, waiting, world_size
from greenlove_mlflow.errors import InvalidInputError

# Ranks enter a training within seconds of each other, or when rank 0 has recorded the one before.
MEET_TIMEOUT_S = 300.0
# Rank 0 knows which rank is missing; the others leave it the time to say so.
GRACE_S = 5.0
# A rank that has not come by then has probably not been told to.
SILENCE_S = 15.0
# One for each start of a Linux kernel, whatever containers run on it; and one for each set of process ids.
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_PID_SPACE = Path("/proc/self/ns/pid")


def meet(asks: str, launched: int = 1, *, say: Callable[[str], None] = lambda sentence: None) -> Ranks | None:
    """The ranks of this training once all have come; None when this process trains alone.

    Args:
        asks: What the caller was asked to do, such as ``track(epochs=4)``.
        launched: World size from the launcher.
        say: Prints a line that the user must see, if a rank is long in coming.

    Raises:
        InvalidInputError: If the ranks cannot talk to each other, do not all come, or ask for different things; nothing
            has run.
    """
    count = world_size(launched)
    if count == 1:
        return None
    if not is_initialized():
        raise InvalidInputError(
            f"this is one of {count} processes, which must know each other before they are timed together: call "
            "torch.distributed.init_process_group first. Nothing has run"
        )
    own = Member(host=_host(), pid=os.getpid(), pid_space=_pid_space(), asks=asks)
    ranks = Meeting(_default_store(), rank=torch.distributed.get_rank(), count=count, own=own, say=say).hold()
    for other, each in enumerate(ranks.members):
        if each.asks != ranks.members[0].asks:
            raise InvalidInputError(
                f"the ranks ask for different things: rank 0 for {ranks.members[0].asks}, rank {other} for "
                f"{each.asks}. Nothing has run"
            )
    return ranks


class Meeting:
    """One meeting, seen from one rank.

    Args:
        store: The store that ``init_process_group`` made.
        rank: Rank of this process.
        count: Number of ranks.
        own: This process.
        say: Prints a line that the user must see.
    """

    def __init__(self, store: Any, *, rank: int, count: int, own: Member, say: Callable[[str], None]) -> None:
        self._store = store
        self._rank = rank
        self._count = count
        self._own = own
        self._say = say
        self._token = uuid.uuid4().hex
        self._hall = self._room("")

    def hold(self) -> Ranks:
        """The ranks, once all have come.

        Raises:
            InvalidInputError: If one does not.
        """
        return self._call() if self._rank == 0 else self._answer()

    def _room(self, token: str) -> Ranks:
        """The ranks under a name; who they are is not known yet."""
        store = torch.distributed.distributed_c10d.PrefixStore(f"greenlove/{token}", self._store)
        return Ranks(store, rank=self._rank, members=(self._own,) * self._count)

    def _call(self) -> Ranks:
        """On rank 0: call the others, and tell all of them who has come."""
        room = self._room(self._token)
        self._hall.post("call", self._token)
        answers: dict[int, Any] = {}
        says = self._said_once()
        for waited_s in waiting(MEET_TIMEOUT_S):
            found = self._hall.read_others("answer")
            answers = {rank: each for rank, each in found.items() if each["call"] == self._token}
            if len(answers) == self._count - 1 or self._hall.is_lost:
                break
            if waited_s >= SILENCE_S:
                says(self._missing(answers))
        self._hall.post("call", None)
        if missing := self._missing(answers):
            error = self._not_come(missing)
            room.fail(error)
            raise error
        tokens, members = [self._token], [self._own]
        for _, answer in sorted(answers.items()):
            tokens.append(answer["token"])
            members.append(Member(**answer["member"]))
        room.members = tuple(members)
        room.post("members", {"tokens": tokens, "members": [each.to_plain() for each in members]})
        return room

    def _answer(self) -> Ranks:
        """On another rank: answer rank 0's call, and again if it turns out to be an old one."""
        room: Ranks | None = None
        answered = None
        says = self._said_once()
        for waited_s in waiting(MEET_TIMEOUT_S + GRACE_S):
            called = self._hall.read("call")
            if called is not None and called != answered:
                answered, room = called, self._room(called)
                self._hall.post("answer", {"call": called, "token": self._token, "member": self._own.to_plain()})
            found = None if room is None else room.read("members")
            if room is not None and found is not None and self._token in found["tokens"]:
                room.members = tuple(Member(**each) for each in found["members"])
                return room
            if room is not None and (said := room.read("failed")) is not None:
                raise InvalidInputError(said["text"])
            if self._hall.is_lost:
                break
            if waited_s >= SILENCE_S and called is None and room is None:
                says([0])
        raise self._not_come([0] if room is None else [])

    def _missing(self, answers: dict[int, Any]) -> list[int]:
        return [rank for rank in range(1, self._count) if rank not in answers]

    def _said_once(self) -> Callable[[list[int]], None]:
        """A function that says once which ranks are missing."""
        said: list[str] = []

        def says(missing: list[int]) -> None:
            if not said:
                said.append(
                    f"rank {self._rank} waits for rank {_listed(missing)}, up to {MEET_TIMEOUT_S:.0f} s: every rank "
                    f"must call greenlove.{self._what}"
                )
                self._say(said[0])

        return says

    @property
    def _what(self) -> str:
        return self._own.asks.split("(")[0]

    def _not_come(self, missing: list[int]) -> InvalidInputError:
        if self._hall.is_lost:
            why = "they cannot reach each other through the store of torch.distributed"
        else:
            who = f"rank {_listed(missing)}" if missing else "one of them"
            why = f"{who} did not come within {MEET_TIMEOUT_S:.0f} s: every rank must call greenlove.{self._what}"
        return InvalidInputError(f"this training has {self._count} ranks, and {why}. Nothing has run")


def _listed(ranks: list[int]) -> str:
    """Some ranks as text; not thousands of them.

    >>> _listed([1, 3]), _listed(list(range(1, 20)))
    ('1, 3', '1, 2, 3, 4, 5, 6, 7, 8 and 11 more')
    """
    shown = 8
    more = f" and {len(ranks) - shown} more" if len(ranks) > shown else ""
    return ", ".join(map(str, ranks[:shown])) + more


def _host() -> str:
    """What tells this machine from others; names alone may repeat, as in containers."""
    try:
        return _BOOT_ID.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return socket.gethostname()


def _pid_space() -> str:
    """What tells the process ids of this container from those of another one on the machine."""
    try:
        return str(_PID_SPACE.readlink())
    except OSError:
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
