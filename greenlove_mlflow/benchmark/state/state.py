"""State: what a benchmark could change, saved, restored bit by bit where it changed, and verified."""

from __future__ import annotations

import concurrent.futures
import logging
import queue
import time
import types
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from greenlove_mlflow.benchmark.machine.machine import BYTES_PER_GIB
from greenlove_mlflow.benchmark.machine.torch_settings import keep_settings
from greenlove_mlflow.benchmark.state.bits import has_content, keep_shared_generators, parts_of
from greenlove_mlflow.benchmark.state.fingerprint import Fingerprint, differing, take_fingerprint
from greenlove_mlflow.benchmark.state.keepers import (
    Keeper,
    KeptArray,
    KeptBytes,
    KeptCell,
    KeptClass,
    KeptContext,
    KeptDict,
    KeptFile,
    KeptGenerator,
    KeptList,
    KeptNames,
    KeptSet,
    KeptSlots,
    KeptTensor,
)
from greenlove_mlflow.benchmark.state.kinds import Kind, is_lost_view, is_rearranged_once, words_on
from greenlove_mlflow.benchmark.state.outside import (
    LARGEST_COPY_BYTES,
    KeptCache,
    KeptDatabase,
    KeptFrame,
    KeptMap,
    KeptScript,
    is_in_memory,
    is_open,
    is_outside,
    is_read,
    is_writable,
    is_written,
    is_written_outside,
    keep_process,
    may_read,
)
from greenlove_mlflow.benchmark.state.walk import (
    Reached,
    Roots,
    Walk,
    has_attributes,
    is_a,
    own_table,
    without_collection,
)
from greenlove_mlflow.benchmark.subject.training import Training
from greenlove_mlflow.errors import StateNotKeepableError, StateNotRestoredError

logger = logging.getLogger(__name__)

# A copy on the device is refused if it would take more than this share of the memory still free there.
FREE_MEMORY_SHARE = 0.5
# Arrays and tensors that no module or optimizer holds are copied up to this many bytes, the smallest first; the
# others (a data set in memory) are watched, not copied. On top of that, what a step holds (averaged weights) may be
# this many times as large as the training state itself.
LARGEST_COPY_OF_DATA_BYTES = 256 * 2**20
COPIES_OF_A_TRAINING = 3
_NAMES_SHOWN = 3
_HOOKS = ("_global_forward_", "_global_backward_")

_MAKERS: dict[Kind, Callable[[Any], Keeper]] = {
    Kind.ARRAY: KeptArray,
    Kind.FILE: KeptFile,
    Kind.DICT: KeptDict,
    Kind.LIST: KeptList,
    Kind.DEQUE: KeptList,
    Kind.SET: KeptSet,
    Kind.BYTES: KeptBytes,
    Kind.MAP: KeptMap,
    Kind.TABLE: KeptFrame,
    Kind.DATABASE: KeptDatabase,
    Kind.CELL: KeptCell,
    Kind.CLASS: KeptClass,
    Kind.CONTEXT: KeptContext,
    Kind.RANDOM: KeptGenerator,
}


def check_state(subject: Any) -> None:
    """Refuse a training, or an object whose methods train, whose state could not be restored; nothing is consumed.

    Raises:
        StateNotKeepableError: If something cannot be saved; the message names it.
    """
    _refuse_unkeepable(_walk(subject).found)


@contextmanager
def preserved(subject: Any) -> Iterator[int]:
    """Restore everything that training steps change when the block ends, also if it raises.

    Yields the bytes that the saved copies take on the training device.

    Args:
        subject: A ``Training``, or any object whose methods train.

    Raises:
        StateNotKeepableError: If something cannot be saved; the block does not run.
        StateNotRestoredError: If something could not be restored; everything else has been.
    """
    kept = _State(subject)
    try:
        yield kept.copied_bytes
    except BaseException as error:  # whatever ended the block, Ctrl-C too, the state is put back before it goes on
        problems = kept.put_back()
        if problems:
            raise _not_restored(problems) from error
        raise
    problems = kept.put_back()
    if problems:
        raise _not_restored(problems)


def count_state_bytes(training: Training) -> int:
    """Bytes on the device that do not depend on batch size: weights, buffers, gradients, optimizer state."""
    roots = Roots(training=_roots_of(training).training)
    return _bytes_on(training.torch_device.type, Walk(roots).found)


class _State:
    """The saved state of a run."""

    def __init__(self, subject: Any) -> None:
        self._subject = subject
        begun_s = time.perf_counter()
        walk = _walk(subject)
        _refuse_unkeepable(walk.found)
        self._shared = keep_process()  # outside the block, which switches something of it off
        with without_collection():
            self._keep(walk)
        logger.debug("kept %d objects in %.3f s", len(walk.found), time.perf_counter() - begun_s)

    def _keep(self, walk: Walk) -> None:
        subject = self._subject
        device = _device_of(subject)
        to_cpu = _copies_belong_on_cpu(device, _bytes_on(device.type, walk.found))
        self._shared += [*keep_shared_generators(device.type), *keep_settings()]
        self._watched = _too_large_to_copy(walk.found)
        self._kept: list[tuple[Reached, Keeper]] = []
        for found in walk.found:
            self._kept += ((found, keeper) for keeper in _keep(found, self._watched, to_cpu=to_cpu))
        self.copied_bytes = sum(each.copied_bytes for _, each in self._kept if isinstance(each, KeptTensor))
        self._before = take_fingerprint(walk.found, self._watched, device.type)

    def put_back(self) -> list[str]:
        """Restore everything, each item independently; return the failures by name and cause."""
        with without_collection():
            tried = [(found, _try(keeper.put_back)) for found, keeper in self._kept]
        problems = [f"{found.path} ({problem})" for found, problem in tried if problem]
        problems += [f"{name} ({problem})" for name, restore in self._shared if (problem := _try(restore))]
        after = take_fingerprint(_walk(self._subject).found, self._watched, _device_of(self._subject).type)
        return problems or self._compare(after)

    def _compare(self, after: Fingerprint) -> list[str]:
        values, structure = differing(self._before, after)
        if structure:
            # Another thread may have changed them since; weights, data and random numbers are restored.
            names = ", ".join(structure[:_NAMES_SHOWN])
            warnings.warn(f"the benchmark could not put these back as they were: {names}", stacklevel=2)
        return values


def _try(restore: Callable[[], Any]) -> str:
    """Restore one item; return the error text, empty on success."""
    try:
        restore()
    except Exception as error:  # noqa: BLE001 - a failure here must not prevent restoring the others
        return f"{type(error).__name__}: {error}"
    return ""


def _walk(subject: Any) -> Walk:
    return Walk(_roots_of(subject))


def _roots_of(subject: Any) -> Roots:
    if not isinstance(subject, Training):
        is_ours = type(subject).__module__.startswith("greenlove_mlflow.")
        return Roots(training={}, step={"run": getattr(subject, "run", None)} if is_ours else {"runner": subject})
    validation, validation_step = (
        subject.validation if isinstance(subject.validation, tuple) else (subject.validation, None)
    )
    extra = {f"extra_state[{number}]": item for number, item in enumerate(subject.extra_state)}
    return Roots(
        training={"model": subject.model, "optimizer": subject.optimizer, "criterion": subject.criterion, **extra},
        step={"train_step": subject.train_step, "validation's step": validation_step, **_hooks_of_all_modules()},
        data={"data": subject.data, "validation": validation},
    )


def _hooks_of_all_modules() -> dict[str, Any]:
    tables = vars(torch.nn.modules.module)
    return {f"torch.nn.modules.module.{name}": hooks for name, hooks in tables.items() if name.startswith(_HOOKS)}


def _keep(found: Reached, watched: set[int], *, to_cpu: bool) -> list[Keeper]:
    try:
        return list(_keepers_of(found, watched, to_cpu=to_cpu))
    except Exception as error:  # a library's object may raise anything when asked for its content
        raise _not_keepable(f"{found.path} ({type(error).__name__}: {error})") from error


def _keepers_of(found: Reached, watched: set[int], *, to_cpu: bool) -> Iterator[Keeper]:
    thing, kind = found.thing, found.kind
    if id(thing) in watched:
        return
    if kind is Kind.TENSOR:
        yield KeptTensor(thing, to_cpu=to_cpu)
    elif kind is Kind.FUNCTION and found.names:
        yield KeptNames(thing, found.names, found.modules)
    elif kind is Kind.WRAPPED and hasattr(thing, "cache_clear"):
        yield KeptCache(thing)
    elif kind in _MAKERS and not _is_left_alone(thing, kind):
        yield _MAKERS[kind](thing)
    if not has_attributes(thing):
        return
    table = None if kind in (Kind.CLASS, Kind.METHOD, Kind.FILE, Kind.TABLE) else own_table(thing)
    if table is not None:
        yield KeptDict(table)
    if is_a(thing, torch.jit.ScriptModule) and hasattr(thing, "_concrete_type"):
        yield KeptScript(thing)
    if is_a(thing, torch.nn.Module) or found.slots:
        yield KeptSlots(thing, found.slots)


def _is_left_alone(thing: Any, kind: Kind) -> bool:
    """Whether an object is not restored: one that is only read, a closed database."""
    match kind:
        case Kind.ARRAY:
            return not thing.flags.writeable
        case Kind.FILE:
            return not is_read(thing)
        case Kind.BYTES:
            return isinstance(thing, memoryview) and not is_writable(thing)
        case Kind.DATABASE:
            return not is_open(thing)
    return False


def _refuse_unkeepable(found: Iterable[Reached]) -> None:
    reasons = [f"{each.path} is {words_on(each.kind, each.thing)}" for each in found if _cannot_be_kept(each)]
    if not reasons:
        return
    more = f", and {len(reasons) - _NAMES_SHOWN} more" if len(reasons) > _NAMES_SHOWN else ""
    raise _not_keepable("; ".join(reasons[:_NAMES_SHOWN]) + more)


def _not_keepable(named: str) -> StateNotKeepableError:
    return StateNotKeepableError(
        f"a benchmark before the training would use up or change what cannot be put back: {named}; nothing has run. "
        "Pass an object that makes it anew each time (a Dataset, a loader, a function), leave it out of train_step, or "
        'measure within the training: greenlove.track(..., benchmark="within")',
        found=named,
    )


def _cannot_be_kept(found: Reached) -> bool:
    thing, is_data = found.thing, found.owner == "data"
    match found.kind:
        case Kind.ITERATOR:
            is_spent = isinstance(thing, types.GeneratorType) and thing.gi_frame is None
            cannot = not found.is_far and not is_spent
        case Kind.STREAM:
            cannot = is_data or not (found.is_far or isinstance(thing, (queue.Queue, concurrent.futures.Future)))
        case Kind.TENSOR:
            cannot = found.owner == "training" and _has_hidden_memory(thing)
        case Kind.FOREIGN if is_outside(type(thing)):
            cannot = not found.is_far and is_written_outside(thing)
        case Kind.FOREIGN:
            cannot = not is_data
        case Kind.DATABASE:
            cannot = not (is_data or found.is_far) and is_open(thing) and not is_in_memory(thing)
        case Kind.FILE if is_written(thing):
            cannot = not found.is_far
        case Kind.FILE:
            cannot = is_data and not is_read(thing) and may_read(thing)
        case Kind.INSTANCE:
            cannot = is_rearranged_once(thing)
        case _:
            cannot = False
    return cannot


def _has_hidden_memory(tensor: torch.Tensor) -> bool:
    """Whether a tensor has content that can neither be copied nor reached as other tensors, as a nested one."""
    is_wrapper = hasattr(tensor, "__tensor_flatten__")
    is_hidden = has_content(tensor) and not is_wrapper and tensor.is_nested and parts_of(tensor) is None
    return is_hidden or is_lost_view(tensor)


def _too_large_to_copy(found: Iterable[Reached]) -> set[int]:
    """The arrays and tensors that are watched instead of copied, by id."""
    sized = [(_byte_count(each.thing), each) for each in found if each.kind in (Kind.ARRAY, Kind.TENSOR)]
    own = sum(count for count, each in sized if each.owner == "training")
    room = {"data": LARGEST_COPY_OF_DATA_BYTES, "step": LARGEST_COPY_OF_DATA_BYTES + COPIES_OF_A_TRAINING * own}
    watched = set()
    for count, each in sorted(sized, key=lambda one: one[0]):
        if each.owner in room:
            room[each.owner] -= count
            if room[each.owner] < 0 or _is_large_map(each.thing):
                watched.add(id(each.thing))
    return watched


def _is_large_map(thing: Any) -> bool:
    """Whether an array is a mapped file that only its reading would bring into memory."""
    return isinstance(thing, np.memmap) and (not thing.flags.writeable or thing.nbytes > LARGEST_COPY_BYTES)


def _byte_count(thing: Any) -> int:
    if isinstance(thing, np.ndarray):
        return int(thing.nbytes)
    if torch.nn.parameter.is_lazy(thing) or thing.layout is not torch.strided or thing.is_nested:
        return 0
    return int(thing.numel() * thing.element_size())


def _bytes_on(device_type: str, found: Iterable[Reached]) -> int:
    sizes: dict[int, int] = {}
    for each in found:
        if each.kind is not Kind.TENSOR or each.owner != "training":
            continue
        count = _byte_count(each.thing)
        if count and not each.thing.is_meta and each.thing.device.type == device_type:
            sizes[each.thing.data_ptr()] = max(count, sizes.get(each.thing.data_ptr(), 0))
    return sum(sizes.values())


def _copies_belong_on_cpu(device: torch.device, needed_bytes: int) -> bool:
    if device.type != "cuda":
        return False
    free_bytes, _ = torch.cuda.mem_get_info(device)
    if needed_bytes <= FREE_MEMORY_SHARE * free_bytes:
        return False
    logger.info("keeping %.1f GiB of state in the CPU's memory: the device is short of it", needed_bytes / 2**30)
    return True


def _device_of(subject: Any) -> torch.device:
    return subject.torch_device if isinstance(subject, Training) else torch.device("cpu")


def _not_restored(problems: list[str]) -> StateNotRestoredError:
    more = f", and {len(problems) - _NAMES_SHOWN} more" if len(problems) > _NAMES_SHOWN else ""
    return StateNotRestoredError(
        f"the benchmark has changed what could not be put back: {'; '.join(problems[:_NAMES_SHOWN])}{more}; build "
        'model, optimizer and data anew before training, and measure within it: benchmark="within"'
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceMemory:
    """Peak device memory of training, GiB; None if the device does not report it.

    Args:
        peak_allocated_gib: Allocated to tensors.
        peak_reserved_gib: Reserved by the allocator, for tensors and the gaps between them.
        fixed_gib: The part independent of batch size: weights, buffers, gradients, optimizer state.
    """

    peak_allocated_gib: float | None = None
    peak_reserved_gib: float | None = None
    fixed_gib: float | None = None


def read_device_memory(training: Training, copied_bytes: int) -> DeviceMemory:
    """The peaks since their last reset, read while the steps' gradients and optimizer state still exist.

    Args:
        training: The benchmarked training.
        copied_bytes: Bytes of the benchmark's own copies on the device.
    """
    device = training.torch_device
    if device.type != "cuda":
        return DeviceMemory()
    return DeviceMemory(
        peak_allocated_gib=(torch.cuda.max_memory_allocated(device) - copied_bytes) / BYTES_PER_GIB,
        peak_reserved_gib=(torch.cuda.max_memory_reserved(device) - copied_bytes) / BYTES_PER_GIB,
        fixed_gib=count_state_bytes(training) / BYTES_PER_GIB,
    )
