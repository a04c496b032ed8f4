"""Keepers: for each kind of object, save its state, detect changes, and restore it in place."""

from __future__ import annotations

import collections
import contextvars
import io
import operator
import types
from collections.abc import Iterable
from typing import Any, Protocol

import numpy as np
import torch

from greenlove_mlflow.benchmark.state.bits import (
    arrays_hold_same_bits,
    can_be_copied,
    copy_bits,
    has_content,
    hold_same_bits,
    parts_of,
    position_of,
    set_position,
    write_bits,
)
from greenlove_mlflow.benchmark.state.outside import class_content
from greenlove_mlflow.benchmark.state.walk import (
    MISSING,
    contents_of,
    members_of,
    slot_value,
    stored_globals,
)
from greenlove_mlflow.errors import StateNotRestoredError

_HOOKS = ("_backward_hooks", "_post_accumulate_grad_hooks")


class Keeper(Protocol):
    """The saved state of one aspect of an object."""

    def put_back(self) -> bool:
        """Restore the object if it changed; return whether it had."""


class KeptDict:
    """The entries of a dictionary, in their order: the same objects under the same keys."""

    __slots__ = ("_kept", "_table")

    def __init__(self, table: dict[Any, Any]) -> None:
        self._table, self._kept = table, dict.copy(table)

    def put_back(self) -> bool:  # noqa: D102
        table, kept = self._table, self._kept
        if dict.__len__(table) == len(kept) and all(map(operator.is_, dict.keys(table), kept)):
            if all(map(operator.is_, dict.values(table), kept.values())):
                return False
            dict.update(table, kept)  # same keys, so the order is kept too
            return True
        # The methods of the built-in types, because those of a user's class may do more.
        kind = collections.OrderedDict if isinstance(table, collections.OrderedDict) else dict
        kind.clear(table)
        for key, value in kept.items():
            kind.__setitem__(table, key, value)
        return True


class KeptList:
    """The items of a list or a double-ended queue."""

    __slots__ = ("_items", "_kept")

    def __init__(self, items: list[Any] | collections.deque[Any]) -> None:
        self._items, self._kept = items, members_of(items)

    def put_back(self) -> bool:  # noqa: D102
        items, kept, now = self._items, self._kept, members_of(self._items)
        if len(now) == len(kept) and all(map(operator.is_, now, kept)):
            return False
        if isinstance(items, list):
            list.__setitem__(items, slice(None), kept)
        else:
            collections.deque.clear(items)
            collections.deque.extend(items, kept)
        return True


class KeptSet:
    """The members of a set."""

    __slots__ = ("_kept", "_members")

    def __init__(self, members: set[Any]) -> None:
        self._members, self._kept = members, set(members_of(members))

    def put_back(self) -> bool:  # noqa: D102
        if set(map(id, members_of(self._members))) == set(map(id, self._kept)):
            return False
        set.clear(self._members)
        set.update(self._members, self._kept)
        return True


class KeptBytes:
    """Writable bytes: of a bytearray, an array, a number shared between processes."""

    __slots__ = ("_kept", "_target")

    def __init__(self, target: Any) -> None:
        self._target, self._kept = target, bytes(memoryview(target).cast("B"))

    def put_back(self) -> bool:  # noqa: D102
        target, kept = self._target, self._kept
        if bytes(memoryview(target).cast("B")) == kept:
            return False
        if isinstance(target, bytearray):
            target[:] = kept
        elif hasattr(target, "frombytes"):
            del target[:]
            target.frombytes(kept)
        else:
            memoryview(target).cast("B")[:] = kept
        return True


class KeptSlots:
    """An object's attributes that are not in a dictionary (slots), and its class."""

    __slots__ = ("_class", "_slots", "_thing")

    def __init__(self, thing: Any, slots: Iterable[types.MemberDescriptorType]) -> None:
        self._thing, self._class = thing, type(thing)
        self._slots = [(slot, slot_value(slot, thing)) for slot in slots]

    def put_back(self) -> bool:  # noqa: D102
        changed = type(self._thing) is not self._class
        if changed:
            self._thing.__class__ = self._class  # a lazy module changes its class at its first batch
        for slot, value in self._slots:
            if slot_value(slot, self._thing) is not value:
                changed = True
                slot.__delete__(self._thing) if value is MISSING else slot.__set__(self._thing, value)
        return changed


class KeptCell:
    """A variable of an enclosing function."""

    __slots__ = ("_cell", "_kept")

    def __init__(self, cell: types.CellType) -> None:
        self._cell, self._kept = cell, contents_of(cell)

    def put_back(self) -> bool:  # noqa: D102
        if contents_of(self._cell) is self._kept:
            return False
        if self._kept is MISSING:
            del self._cell.cell_contents
        else:
            self._cell.cell_contents = self._kept
        return True


class KeptContext:
    """The value of a context variable."""

    __slots__ = ("_kept", "_variable")

    def __init__(self, variable: contextvars.ContextVar[Any]) -> None:
        self._variable, self._kept = variable, variable.get(MISSING)

    def put_back(self) -> bool:  # noqa: D102
        if self._variable.get(MISSING) is self._kept:
            return False
        if self._kept is MISSING:
            raise StateNotRestoredError("it had no value, which cannot be restored from outside")
        self._variable.set(self._kept)
        return True


class KeptNames:
    """Global variables that a function uses, in its own module and in the user modules that it names."""

    __slots__ = ("_tables",)

    def __init__(
        self, function: types.FunctionType, names: tuple[str, ...], modules: Iterable[types.ModuleType]
    ) -> None:
        own = function.__globals__
        wanted = {name for name in names if name in own} | stored_globals(function.__code__)
        self._tables = [(own, {name: own.get(name, MISSING) for name in wanted})]
        for module in modules:
            table = vars(module)
            self._tables.append((table, {name: table[name] for name in names if name in table}))

    def put_back(self) -> bool:  # noqa: D102
        changed = False
        for table, kept in self._tables:
            for name, value in kept.items():
                if table.get(name, MISSING) is not value:
                    changed = True
                    if value is MISSING:
                        del table[name]
                    else:
                        table[name] = value
        return changed


class KeptClass:
    """What a user's class holds by name: values, methods, descriptors."""

    __slots__ = ("_class", "_kept")

    def __init__(self, kind: type) -> None:
        self._class = kind
        self._kept = class_content(kind)

    def put_back(self) -> bool:  # noqa: D102
        now = class_content(self._class)
        if now.keys() == self._kept.keys() and all(now[name] is value for name, value in self._kept.items()):
            return False
        for name in now.keys() - self._kept.keys():
            type.__delattr__(self._class, name)
        for name, value in self._kept.items():
            if now.get(name, MISSING) is not value:
                type.__setattr__(self._class, name, value)
        return True


class KeptGenerator:
    """The position of a random number generator."""

    __slots__ = ("_generator", "_position")

    def __init__(self, generator: Any) -> None:
        self._generator, self._position = generator, position_of(generator)

    def put_back(self) -> bool:  # noqa: D102
        set_position(self._generator, self._position)
        return True


class KeptFile:
    """The position of a file open for reading, and the content of an in-memory buffer."""

    __slots__ = ("_file", "_position", "_value")

    def __init__(self, file: Any) -> None:
        self._file, self._position = file, file.tell()
        self._value = file.getvalue() if isinstance(file, (io.BytesIO, io.StringIO)) else None

    def put_back(self) -> bool:  # noqa: D102
        if self._value is not None and self._file.getvalue() != self._value:
            self._file.seek(0)
            self._file.truncate()
            self._file.write(self._value)
        elif self._file.tell() == self._position:
            return False
        self._file.seek(self._position)
        return True


class KeptArray:
    """The elements of an array."""

    __slots__ = ("_array", "_kept")

    def __init__(self, array: np.ndarray[Any, Any]) -> None:
        self._array, self._kept = array, array.copy()

    def put_back(self) -> bool:  # noqa: D102
        array, kept = self._array, self._kept
        if arrays_hold_same_bits(array, kept):
            return False
        array[...] = kept
        return True


class KeptTensor:
    """A tensor: its memory and bits, its class, its hooks, its gradient and ``requires_grad``."""

    __slots__ = (
        "_class", "_copy", "_grad", "_has_grad", "_hooks", "_is_leaf", "_memory", "_memory_bytes", "_parts",
        "_requires_grad", "_tensor",
    )  # fmt: skip

    def __init__(self, tensor: torch.Tensor, *, to_cpu: bool) -> None:
        self._tensor: Any = tensor
        self._class = type(tensor)
        self._memory = tensor.data
        self._memory_bytes = _memory_bytes(tensor)
        self._is_leaf, self._requires_grad = tensor.is_leaf, tensor.requires_grad
        self._has_grad = tensor.is_leaf or tensor.retains_grad
        self._grad = tensor.grad if self._has_grad else None
        self._hooks = [(name, getattr(tensor, name)) for name in _HOOKS]
        self._copy: torch.Tensor | None = None
        self._parts: list[torch.Tensor] = []
        if can_be_copied(tensor):
            self._copy = copy_bits(tensor, to_cpu=to_cpu)
        elif parts_of(tensor):
            self._copy = tensor.detach().clone()
            self._parts = parts_of(self._copy) or []

    @property
    def copied_bytes(self) -> int:
        """Bytes that the copy takes on the tensor's own device."""
        kept = self._copy
        if kept is None or self._parts or kept.device != self._memory.device:
            return 0
        return kept.numel() * kept.element_size()

    def put_back(self) -> bool:  # noqa: D102
        tensor, changed = self._tensor, False
        if not _share_memory(tensor, self._memory):
            tensor.data = self._memory
            changed = True
        changed |= self._allocate_or_free()
        if type(tensor) is not self._class:
            tensor.__class__ = self._class
            changed = True
        changed |= self._put_bits_back()
        if self._is_leaf and not tensor.is_leaf:
            tensor.detach_()
            changed = True
        if tensor.is_leaf and tensor.requires_grad != self._requires_grad:
            tensor.requires_grad_(self._requires_grad)
            changed = True
        if self._has_grad and tensor.grad is not self._grad:
            tensor.grad = self._grad
            changed = True
        for name, hooks in self._hooks:
            if getattr(tensor, name) is not hooks:
                setattr(tensor, name, hooks)
                changed = True
        return changed

    def _allocate_or_free(self) -> bool:
        """Give memory back to a tensor whose memory a step freed, and free what was freed before."""
        before, now = self._memory_bytes, _memory_bytes(self._tensor)
        if before is None or now is None or now == before:
            return False
        was_freed = self._copy is None and has_content(self._memory) and not self._parts
        if now > before and not was_freed:
            return False  # grown in place; the tensor's shape is what it was
        self._tensor.untyped_storage().resize_(before)
        return True

    def _put_bits_back(self) -> bool:
        kept = self._copy
        if kept is None:
            return False
        if not self._parts:
            if hold_same_bits(self._tensor, kept):
                return False
            write_bits(self._tensor, kept)
            return True
        now = parts_of(self._tensor) or []
        if len(now) == len(self._parts) and all(map(hold_same_bits, now, self._parts)):
            return False
        with torch.no_grad():
            self._tensor.data.copy_(kept)
        return True


def _memory_bytes(tensor: torch.Tensor) -> int | None:
    """Bytes of memory behind a tensor of a plain layout; None for others."""
    is_plain = has_content(tensor) and tensor.layout is torch.strided and not tensor.is_nested
    if not is_plain or tensor.is_quantized or hasattr(tensor, "__tensor_flatten__"):
        return None
    return tensor.untyped_storage().nbytes()


def _share_memory(tensor: torch.Tensor, memory: torch.Tensor) -> bool:
    if torch.nn.parameter.is_lazy(memory) or torch.nn.parameter.is_lazy(tensor):
        return torch.nn.parameter.is_lazy(tensor)
    if tensor.layout is not torch.strided or tensor.is_meta or hasattr(tensor, "__tensor_flatten__"):
        return tensor.layout is memory.layout and tensor.size() == memory.size()
    return (
        tensor.data_ptr() == memory.data_ptr()
        and tensor.shape == memory.shape
        and tensor.stride() == memory.stride()
        and tensor.dtype is memory.dtype
        and tensor.device == memory.device
    )
