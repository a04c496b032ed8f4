"""Kinds: how an object that training reaches can be saved, by its type alone."""

from __future__ import annotations

import array
import collections
import collections.abc
import concurrent.futures
import contextvars
import ctypes
import enum
import functools
import io
import mmap
import multiprocessing.queues
import multiprocessing.sharedctypes
import queue
import random
import socket
import sqlite3
import sys
import threading
import types
import weakref
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data.dataloader import _BaseDataLoaderIter

from greenlove_mlflow.benchmark.state.outside import WALKED, is_frame, is_outside

_INSTALLED_FOLDERS = ("site-packages", "dist-packages")
# Objects of these libraries hold no training state, or none that may be restored from outside.
_OPAQUE_LIBRARIES = frozenset(
    {
        "asyncio", "concurrent", "contextlib", "ctypes", "datetime", "decimal", "fractions", "importlib", "inspect",
        "logging", "multiprocessing", "pathlib", "queue", "re", "selectors", "socket", "sqlite3", "ssl", "subprocess",
        "threading", "uuid",
        "IPython", "PIL", "greenlove_mlflow", "h5py", "lmdb", "matplotlib", "mlflow", "plotly", "pyarrow", "pynvml",
        "requests", "rich", "sqlalchemy", "sympy", "tensorboard", "tokenizers", "triton", "urllib3", "wandb",
    }
)  # fmt: skip
_OPAQUE_PARTS_OF_TORCH = (
    "torch._dynamo", "torch._inductor", "torch._C", "torch._functorch", "torch._guards", "torch._ops", "torch.fx",
    "torch.autograd", "torch.cuda", "torch.distributed.distributed_c10d", "torch.distributed.device_mesh",
    "torch.multiprocessing", "torch.profiler", "torch.library",
)  # fmt: skip
_WALKED_PARTS_OF_TORCH = ("OptimizedModule", "GradScaler")
_ATOMS = (
    type(None), bool, int, float, complex, str, bytes, range, slice, enum.Enum, np.generic, np.dtype,
    torch.dtype, torch.device, torch.layout, torch.memory_format, torch.Size, types.ModuleType, types.CodeType,
    types.BuiltinFunctionType, types.MethodWrapperType, types.GetSetDescriptorType, types.MemberDescriptorType,
)  # fmt: skip
_STREAMS = (
    queue.Queue, queue.SimpleQueue, multiprocessing.queues.Queue, multiprocessing.queues.SimpleQueue, socket.socket,
    Connection, concurrent.futures.Future,
)  # fmt: skip
_RANDOM = (
    torch.Generator, np.random.Generator, np.random.BitGenerator, np.random.RandomState, np.random.SeedSequence,
    random.Random,
)  # fmt: skip


class Kind(enum.Enum):
    """How an object is saved."""

    ATOM = "cannot change, or holds nothing of a training"
    TENSOR = "a tensor"
    ARRAY = "a NumPy array"
    RANDOM = "a generator of random numbers"
    DICT = "a dictionary"
    LIST = "a list"
    FIXED = "a tuple or frozen set"
    SET = "a set"
    DEQUE = "a double-ended queue"
    BYTES = "bytes that can be written to"
    FUNCTION = "a function with what it closes over"
    METHOD = "a bound method"
    PARTIAL = "a function with some arguments given"
    WRAPPED = "a function around another"
    CELL = "a variable of an enclosing function"
    CONTEXT = "a context variable"
    MAP = "a mapped file"
    TABLE = "a table of pandas"
    DATABASE = "a database"
    WEAK = "a weak reference"
    CLASS = "a class of the user's own"
    FILE = "an open file"
    INSTANCE = "an object with attributes"
    ITERATOR = "an iterator, which can be read only once"
    STREAM = "a queue or connection, which can be read only once"
    FOREIGN = "held outside this process's Python, where it cannot be copied"


_BY_BASE: tuple[tuple[Any, Kind], ...] = (
    (_ATOMS, Kind.ATOM),
    (torch.Tensor, Kind.TENSOR),
    (np.ndarray, Kind.ARRAY),
    (random.SystemRandom, Kind.ATOM),
    (_RANDOM, Kind.RANDOM),
    (types.FunctionType, Kind.FUNCTION),
    (types.MethodType, Kind.METHOD),
    (functools.partial, Kind.PARTIAL),
    ((functools._lru_cache_wrapper, staticmethod, classmethod), Kind.WRAPPED),
    (types.CellType, Kind.CELL),
    (contextvars.ContextVar, Kind.CONTEXT),
    ((weakref.ReferenceType, *weakref.ProxyTypes), Kind.WEAK),
    (threading.local, Kind.INSTANCE),
    (dict, Kind.DICT),
    (list, Kind.LIST),
    ((tuple, frozenset), Kind.FIXED),
    (set, Kind.SET),
    (collections.deque, Kind.DEQUE),
    ((ctypes.c_void_p, ctypes._Pointer), Kind.FOREIGN),
    (mmap.mmap, Kind.MAP),
    (sqlite3.Connection, Kind.DATABASE),
    ((bytearray, memoryview, array.array, ctypes._SimpleCData, ctypes.Array, ctypes.Structure), Kind.BYTES),
    ((multiprocessing.sharedctypes.SynchronizedBase, *WALKED), Kind.INSTANCE),
    (io.IOBase, Kind.FILE),
    (_STREAMS, Kind.STREAM),
    (_BaseDataLoaderIter, Kind.ITERATOR),
)


_BUILT_IN: dict[type, Kind] = {
    dict: Kind.DICT,
    collections.OrderedDict: Kind.DICT,
    list: Kind.LIST,
    tuple: Kind.FIXED,
    set: Kind.SET,
    torch.nn.Parameter: Kind.TENSOR,
    torch.Tensor: Kind.TENSOR,
}


class Kinds:
    """Determines the kind of an object, cached by type."""

    def __init__(self) -> None:
        self._of_type: dict[type, Kind] = dict(_BUILT_IN)
        self._is_library: dict[str, bool] = {}

    def of(self, thing: object) -> Kind:
        """The kind of ``thing``."""
        kind = self._of_type.get(type(thing))
        if kind is None:
            kind = self._of_type[type(thing)] = self._decide(type(thing))
        if kind is Kind.CLASS and self.is_library(thing.__module__):
            return Kind.ATOM
        return kind

    def is_library(self, module_name: object) -> bool:
        """Whether a module belongs to the standard library or an installed package, not to the user's code."""
        name = module_name if isinstance(module_name, str) else ""
        known = self._is_library.get(name)
        if known is None:
            known = self._is_library[name] = _is_library(name)
        return known

    def _decide(self, kind_of: type) -> Kind:
        if issubclass(kind_of, type):
            return Kind.CLASS
        is_own = not self.is_library(kind_of.__module__)
        if is_own and issubclass(kind_of, enum.Enum):  # also one that is a number or a text
            return Kind.INSTANCE
        for base, kind in _BY_BASE:
            if issubclass(kind_of, base):
                return kind
        for applies, kind in ((is_frame, Kind.TABLE), (_iterates_in_c, Kind.ITERATOR), (_is_foreign, Kind.FOREIGN)):
            if applies(kind_of):
                return kind
        if _is_opaque(kind_of) or not (kind_of.__dictoffset__ or slots_of(kind_of)):
            return Kind.ATOM
        return Kind.INSTANCE


def slots_of(kind_of: type) -> tuple[types.MemberDescriptorType, ...]:
    """The attributes of a class that are not in a dictionary (slots)."""
    return tuple(
        value
        for each in kind_of.__mro__
        if "__slots__" in vars(each)
        for value in vars(each).values()
        if isinstance(value, types.MemberDescriptorType)
    )


def _is_library(name: str) -> bool:
    top = name.partition(".")[0]
    if top == "greenlove_mlflow" or (top in sys.stdlib_module_names and top != "__main__"):
        return True
    path = getattr(sys.modules.get(name), "__file__", None)
    if path is None:
        return False
    return any(folder in path for folder in _INSTALLED_FOLDERS) or _is_installed_beside(top)


def _is_installed_beside(top: str) -> bool:
    """Whether an installer placed the package there (also under another folder name), by the metadata beside it."""
    path = getattr(sys.modules.get(top), "__file__", None)
    if path is None:
        return False
    folder = Path(path).parent.parent if Path(path).name == "__init__.py" else Path(path).parent
    return any(folder.glob("*.dist-info"))


def _is_opaque(kind_of: type) -> bool:
    module = kind_of.__module__ if isinstance(kind_of.__module__, str) else ""
    if kind_of.__name__ in _WALKED_PARTS_OF_TORCH:
        return False
    return module.partition(".")[0] in _OPAQUE_LIBRARIES or module.startswith(_OPAQUE_PARTS_OF_TORCH)


def _iterates_in_c(kind_of: type) -> bool:
    """Whether objects of a type are iterators whose position is not visible in Python."""
    for each in kind_of.__mro__:
        step = vars(each).get("__next__")
        if step is not None:
            return not isinstance(step, types.FunctionType) or each is collections.abc.Generator
    return False


def _is_foreign(kind_of: type) -> bool:
    """Whether a type holds what this process's Python cannot copy: TensorFlow's variables, what a manager shares."""
    is_variable = kind_of.__module__.partition(".")[0] == "tensorflow" and hasattr(kind_of, "assign")
    return is_variable or is_outside(kind_of)


def is_lost_view(tensor: torch.Tensor) -> bool:
    """Whether autograd refuses a view because its base was changed in place, as FSDP 1 leaves a module's weights."""
    try:
        _ = tensor.is_leaf
    except RuntimeError:
        return True
    return False


def is_rearranged_once(thing: Any) -> bool:
    """Whether a ``DistributedDataParallel`` is to put its gradients into another order after its first backward pass.

    Three ranks or more then sum them in another order, which rounds the sums of the first step differently. The object
    itself is not asked what it is: that may run code of its own.
    """
    return (
        issubclass(type(thing), torch.nn.parallel.DistributedDataParallel)
        and not thing._has_rebuilt_buckets
        and (thing.static_graph or not thing.find_unused_parameters)
        and thing.process_group.size() > 2
    )


def words_on(kind: Kind, thing: Any) -> str:
    """What an object is, as text."""
    if kind is Kind.TENSOR and is_lost_view(thing):
        return "a view that autograd refuses, as FSDP 1 leaves them"
    if is_rearranged_once(thing):
        return "a DistributedDataParallel that arranges its gradients anew after its first step"
    return str(kind.value)
