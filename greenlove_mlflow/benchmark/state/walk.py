"""Walk: finds everything that training steps can change, by following references; no user code is run."""

from __future__ import annotations

import collections
import contextlib
import dis
import functools
import gc
import itertools
import sys
import threading
import time
import types
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.utils.data import DataLoader

from greenlove_mlflow.benchmark.state.bits import objects_in
from greenlove_mlflow.benchmark.state.kinds import Kind, Kinds, is_lost_view, slots_of
from greenlove_mlflow.benchmark.state.outside import cached_by, class_content

# The items of a container with more than this many are rows, and are visited last.
ROWS_FROM = 1_000
# Number of objects visited in rows; rows beyond that are skipped, except for a sample that is watched.
MOST_OBJECTS_IN_ROWS = 20_000
WATCHED_ROWS = 1_000
_BUILT_IN = frozenset({dict, list, tuple, set, frozenset, collections.deque, collections.OrderedDict})
_CLOCKS = ("perf_counter", "process_time", "monotonic", "time", "sleep")
_CALLED_FROM_OUTSIDE = (
    "forward", "training_step", "run_epoch", "step", "__call__", "__iter__", "__next__", "__getitem__", "__getitems__",
)  # fmt: skip
_PLAIN = frozenset({type(None), bool, int, float, str, bytes, complex, types.ModuleType, torch.dtype, torch.device})
MISSING = object()


@dataclass(slots=True)
class Reached:
    """An object that training reaches.

    Args:
        thing: The object.
        kind: How it is saved.
        label: Its name within its holder (``.hidden``, ``[3]``).
        holder: The object it was found in; None for a root.
        owner: ``training`` for what the model, optimizer, criterion or a module holds; else ``step`` or ``data``, by
            the root that leads to it.
        names: Global names that a function uses; empty otherwise.
        modules: The user's own modules among them.
        slots: Attributes that are not in a dictionary.
        is_far: Whether only code of a class leads to it that nothing else names; training never calls most methods.
    """

    thing: Any
    kind: Kind
    label: str
    holder: Reached | None
    owner: str
    names: tuple[str, ...] = ()
    modules: tuple[types.ModuleType, ...] = ()
    slots: tuple[types.MemberDescriptorType, ...] = ()
    is_far: bool = False

    @property
    def path(self) -> str:
        """The path to it, as code (``model.cell.hidden``)."""
        return (self.holder.path if self.holder is not None else "") + self.label


@contextlib.contextmanager
def without_collection() -> Iterator[None]:
    """Pause garbage collection while very many objects are created that are all kept."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


@dataclass(frozen=True, slots=True, kw_only=True)
class Roots:
    """Starting points of a walk: objects by the user's name for them.

    Args:
        training: Model, optimizer, criterion and anything else that is trained.
        step: User functions that run steps.
        data: Loaders and data sets.
    """

    training: Mapping[str, Any]
    step: Mapping[str, Any] = field(default_factory=dict)
    data: Mapping[str, Any] = field(default_factory=dict)


class Walk:
    """Everything reachable from the roots, each object once, near objects first and rows of data last.

    Attributes:
        found: What was found, in an order that is stable as long as nothing changes.
        rows_passed_over: Number of rows that were skipped because there were too many.
    """

    def __init__(self, roots: Roots) -> None:
        self.found: list[Reached] = []
        self.rows_passed_over = 0
        self._kinds = Kinds()
        self._parts: dict[type, tuple[tuple[types.MemberDescriptorType, ...], list[type]]] = {}
        self._seen: set[int] = set()
        self._queue: collections.deque[Reached] = collections.deque()
        self._names = set(_CALLED_FROM_OUTSIDE)
        self._far: collections.deque[Reached] = collections.deque()
        self._rows: collections.deque[Reached] = collections.deque()
        self._set_the_clock_apart()
        self._own_loaders = {id(each) for each in roots.data.values() if isinstance(each, DataLoader)}
        with without_collection():
            self._walk(roots)

    def _walk(self, roots: Roots) -> None:
        for owner, named in (("training", roots.training), ("step", roots.step), ("data", roots.data)):
            for label, thing in named.items():
                if type(thing) not in _PLAIN and id(thing) not in self._seen:
                    self._meet(thing, label, None, owner=owner)
            self._follow()
        self._follow_far()
        self._follow_rows()

    def _set_the_clock_apart(self) -> None:
        """Exclude the clock from the walk, so that time keeps advancing even if a step moves a replacement clock."""
        for name in _CLOCKS:
            clock = getattr(time, name)
            cells = [contents_of(each) for each in getattr(clock, "__closure__", None) or ()]
            for part in (clock, getattr(clock, "__self__", None), *cells):
                self._seen.add(id(part))
                self._seen.update(map(id, attributes_of(part).values()))

    def _follow(self) -> None:
        while self._queue:
            self._look_into(self._queue.popleft())

    def _follow_far(self) -> None:
        """Follow what the code of classes leads to: first what training calls by a name seen so far, then the rest."""
        while called := [each for each in self._far if each.label.removeprefix(".") in self._names]:
            self._far = collections.deque(each for each in self._far if each.label.removeprefix(".") not in self._names)
            for each in called:
                each.is_far = False
                self._enqueue(each, self._queue)
            self._follow()
        while self._far:
            self._enqueue(self._far.popleft(), self._queue)
            self._follow()

    def _enqueue(self, found: Reached, queue: collections.deque[Reached]) -> None:
        if id(found.thing) not in self._seen:
            self._seen.add(id(found.thing))
            queue.append(found)

    def _follow_rows(self) -> None:
        most = len(self.found) + MOST_OBJECTS_IN_ROWS
        while self._rows:
            if len(self.found) > most and len(self._rows) > WATCHED_ROWS:
                self._thin()
            self._look_into(self._rows.popleft())
            self._follow()

    def _thin(self) -> None:
        waiting = len(self._rows)
        watched = list(itertools.islice(self._rows, 0, None, -(-waiting // WATCHED_ROWS)))
        self.rows_passed_over += waiting - len(watched)
        self._rows = collections.deque(watched)

    def _meet(self, thing: Any, label: str, holder: Reached | None, *, owner: str, is_row: bool = False) -> None:
        kind = self._kinds.of(thing)
        if kind is Kind.ATOM:
            return
        if is_a(thing, (torch.nn.Module, torch.optim.Optimizer)):
            owner = "training"
        is_far = holder is not None and (holder.is_far or holder.kind is Kind.CLASS)
        found = Reached(thing, kind, label, holder, owner, is_far=is_far)
        if is_far:
            self._far.append(found)  # not seen yet: a nearer way to it may be found
        else:
            self._enqueue(found, self._rows if is_row else self._queue)

    def _look_into(self, found: Reached) -> None:
        self.found.append(found)
        if found.kind is Kind.FUNCTION and not found.is_far:
            self._names.update(names_of(found.thing.__code__))
        is_row = found.kind in _CONTAINERS and base_of(found.thing).__len__(found.thing) > ROWS_FROM
        for label, child in self._children(found):
            if type(child) not in _PLAIN and id(child) not in self._seen:
                self._meet(child, label, found, owner=found.owner, is_row=is_row)

    def _children(self, found: Reached) -> Iterator[tuple[str, Any]]:
        thing, kind = found.thing, found.kind
        if kind is Kind.FUNCTION:
            yield from self._of_function(found, thing)
        elif kind in _CONTENTS:
            yield from _CONTENTS[kind](thing)
        if kind not in _WITHOUT_ATTRIBUTES and type(thing) not in _BUILT_IN:
            yield from self._attributes(found)

    def _attributes(self, found: Reached) -> Iterator[tuple[str, Any]]:
        thing = found.thing
        is_own_loader = id(thing) in self._own_loaders
        for name, value in list(attributes_of(thing).items()):
            # A loader's active workers are left alone: the benchmark uses its own workers.
            if not (is_own_loader and name == "_iterator"):
                yield f".{name}", value
        found.slots, classes = self._parts_of(type(thing))
        yield from ((f".{slot.__name__}", slot_value(slot, thing)) for slot in found.slots)
        yield from ((f"'s class {each.__name__}", each) for each in classes)
        if is_a(thing, torch.jit.ScriptModule):
            yield from ((f".{name}", value) for name, value in thing.named_parameters())
            yield from ((f".{name}", value) for name, value in thing.named_buffers())

    def _parts_of(self, kind: type) -> tuple[tuple[types.MemberDescriptorType, ...], list[type]]:
        parts = self._parts.get(kind)
        if parts is None:
            own = [each for each in kind.__mro__ if not self._kinds.is_library(each.__module__)]
            parts = self._parts[kind] = slots_of(kind), own
        return parts

    def _of_function(self, found: Reached, function: types.FunctionType) -> Iterator[tuple[str, Any]]:
        cells = list(zip(function.__code__.co_freevars, function.__closure__ or (), strict=False))
        yield from ((f"'s {name}", cell) for name, cell in cells)
        yield "'s defaults", function.__defaults__
        yield "'s defaults", function.__kwdefaults__
        is_root = found.holder is None or (found.holder.holder is None and found.label == "")
        if is_root or not self._kinds.is_library(function.__module__):
            found.names = names_of(function.__code__)
            yield from self._of_names(found, function.__globals__, {name: contents_of(cell) for name, cell in cells})

    def _of_names(
        self, found: Reached, table: Mapping[str, Any], enclosed: Mapping[str, Any]
    ) -> Iterator[tuple[str, Any]]:
        """The objects behind global names; those of a user module (global, enclosed, imported) by these names."""
        modules = []
        for name in (*found.names, *enclosed):
            value = enclosed[name] if name in enclosed else table.get(name, sys.modules.get(name))
            yield f"'s {name}", value
            if is_a(value, types.ModuleType) and not self._kinds.is_library(value.__name__):
                modules.append(value)
                yield from ((f"'s {name}.{each}", vars(value).get(each)) for each in found.names)
        found.modules = tuple(modules)


def names_of(code: types.CodeType) -> tuple[str, ...]:
    """Every global name and attribute used by a function and its nested functions."""
    inner = [name for each in code.co_consts if isinstance(each, types.CodeType) for name in names_of(each)]
    # A name given as text, as in ``globals()["count"]``.
    texts = (each for each in code.co_consts if isinstance(each, str) and each.isidentifier())
    return tuple(dict.fromkeys([*code.co_names, *inner, *(texts if "globals" in code.co_names else ())]))


def stored_globals(code: types.CodeType) -> set[str]:
    """The global names set by a function or its nested functions."""
    own = {each.argval for each in dis.get_instructions(code) if each.opname == "STORE_GLOBAL"}
    return own.union(*(stored_globals(each) for each in code.co_consts if isinstance(each, types.CodeType)))


def is_a(thing: Any, kinds: type | tuple[type, ...]) -> bool:
    """Whether an object is of some type, by its own type alone: ``isinstance`` asks the object, which may run code."""
    return issubclass(type(thing), kinds)


def own_table(thing: Any) -> dict[str, Any] | None:
    """The attribute dictionary of an object itself, not a copy; None if it has none."""
    read = threading.local.__getattribute__ if is_a(thing, threading.local) else object.__getattribute__
    try:
        table = read(thing, "__dict__")
    except AttributeError:
        return None
    return table if isinstance(table, dict) else None


def attributes_of(thing: Any) -> dict[str, Any]:
    """The attributes in an object's dictionary."""
    return own_table(thing) or {}


def has_attributes(thing: Any) -> bool:
    """Whether an object may have its own attributes besides its content."""
    return type(thing) not in _BUILT_IN


def slot_value(slot: types.MemberDescriptorType, thing: Any) -> Any:
    """The value of a slot; ``MISSING`` if it is empty."""
    try:
        return slot.__get__(thing)
    except AttributeError:
        return MISSING


def contents_of(cell: types.CellType) -> Any:
    """The value of a variable of an enclosing function; ``MISSING`` before it is set."""
    try:
        return cell.cell_contents
    except ValueError:
        return MISSING


def _function_in(value: Any) -> Any:
    if isinstance(value, (staticmethod, classmethod)):
        value = value.__func__
    if isinstance(value, property):
        value = value.fget
    if isinstance(value, functools.cached_property):
        value = value.func
    return value if isinstance(value, types.FunctionType) else None


def _of_class(kind: type) -> Iterator[tuple[str, Any]]:
    for name, value in class_content(kind).items():
        inner = _function_in(value)
        yield f".{name}", value if inner is None else inner


def _of_tensor(tensor: torch.Tensor) -> Iterator[tuple[str, Any]]:
    if not is_lost_view(tensor) and (tensor.is_leaf or tensor.retains_grad):
        yield ".grad", tensor.grad
    yield "'s hooks", tensor._backward_hooks
    yield "'s hooks", tensor._post_accumulate_grad_hooks
    if hasattr(tensor, "__tensor_flatten__"):
        yield from ((f".{name}", getattr(tensor, name)) for name in tensor.__tensor_flatten__()[0])
    yield from ((f".{name}", value) for name, value in list(attributes_of(tensor).items()))


def _of_dict(table: dict[Any, Any]) -> Iterator[tuple[str, Any]]:
    if _are_plain(dict.keys(table)) and _are_plain(dict.values(table)):
        return
    for key, value in list(dict.items(table)):
        name = f"[{key!r}]" if isinstance(key, (str, int)) else f"[{type(key).__name__}]"
        yield name, value
        if type(key) not in _PLAIN:
            yield f"'s key {name}", key


def base_of(container: Any) -> Any:
    """The built-in type of a container, whose methods are used: those of a user's class may do more."""
    return next(base for base in _BUILT_IN if is_a(container, base))


def members_of(container: Any) -> list[Any]:
    """What a list, tuple, set or double-ended queue holds."""
    return list(base_of(container).__iter__(container))


def _numbered(container: Any) -> Iterator[tuple[str, Any]]:
    items = members_of(container)
    if not _are_plain(items):
        yield from ((f"[{number}]", value) for number, value in enumerate(items))


def _are_plain(items: Iterable[Any]) -> bool:
    """Whether no item holds references to follow; checked at C speed, because there may be millions."""
    return set(map(type, items)) <= _PLAIN


def _of_random(generator: Any) -> Iterator[tuple[str, Any]]:
    """What a NumPy generator rests on: spawning others moves its sequence of seeds, not its own position."""
    for name in ("bit_generator", "_bit_generator", "seed_seq", "_seed_seq"):
        yield f".{name}", getattr(generator, name, None)


def _of_weak(reference: Any) -> Iterator[tuple[str, Any]]:
    with contextlib.suppress(ReferenceError):  # what a proxy stood for is gone
        # A proxy passes every question on; the method that comes back is bound to what it stands for.
        yield "()", reference() if is_a(reference, weakref.ReferenceType) else reference.__dir__.__self__


def _of_array(array: Any) -> Iterator[tuple[str, Any]]:
    return _numbered(objects_in(array))


_CONTENTS: dict[Kind, Callable[[Any], Iterable[tuple[str, Any]]]] = {
    Kind.CLASS: _of_class,
    Kind.METHOD: lambda method: ((".__self__", method.__self__), ("", method.__func__)),
    Kind.PARTIAL: lambda partial: ((".func", partial.func), (".args", partial.args), (".keywords", partial.keywords)),
    Kind.WRAPPED: lambda wrapper: ((".__wrapped__", getattr(wrapper, "__wrapped__", None)), *cached_by(wrapper)),
    Kind.CELL: lambda cell: (("", contents_of(cell)),),
    Kind.CONTEXT: lambda variable: (("", variable.get(None)),),
    Kind.WEAK: _of_weak,
    Kind.RANDOM: _of_random,
    Kind.TENSOR: _of_tensor,
    Kind.ARRAY: _of_array,
    Kind.DICT: _of_dict,
    Kind.LIST: _numbered,
    Kind.FIXED: _numbered,
    Kind.SET: _numbered,
    Kind.DEQUE: _numbered,
}
_CONTAINERS = frozenset({Kind.DICT, Kind.LIST, Kind.FIXED, Kind.SET, Kind.DEQUE})
_WITHOUT_ATTRIBUTES = frozenset({Kind.CLASS, Kind.CELL, Kind.CONTEXT, Kind.METHOD, Kind.TABLE, Kind.TENSOR, Kind.WEAK})
