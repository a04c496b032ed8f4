"""Bits: copies, comparisons and checksums of tensors and arrays, and the positions of random number generators."""

from __future__ import annotations

import copy
import operator
import random
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

Restore = Callable[[], object]

_INTEGER_OF_SIZE = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
# Odd, so that no regular layout hides a shift from the sums over columns.
_COLUMNS = 61
_WORD_BYTES = 8
# Larger tensors are summed by torch, which uses several cores.
SMALL_BYTES = 1 << 16


def compact(tensor: torch.Tensor) -> torch.Tensor:
    """A view of the tensor's memory, without its gradient and without the repetitions of an expanded tensor."""
    view = tensor.detach()
    for axis, (size, stride) in enumerate(zip(view.shape, view.stride(), strict=True)):
        if stride == 0 and size > 1:
            view = view.narrow(axis, 0, 1)
    return view


def can_be_copied(tensor: torch.Tensor) -> bool:
    """Whether a tensor's bits can be copied: it is initialised, on a device, and has a plain layout."""
    return (
        has_content(tensor)
        and tensor.layout is torch.strided
        and not tensor.is_nested
        and not tensor.is_quantized
        and not hasattr(tensor, "__tensor_flatten__")
        and is_allocated(tensor)
    )


def has_content(tensor: torch.Tensor) -> bool:
    """Whether a tensor is initialised and on a device."""
    return not torch.nn.parameter.is_lazy(tensor) and not tensor.is_meta


def parts_of(tensor: torch.Tensor) -> list[torch.Tensor] | None:
    """The plain tensors that a tensor consists of: itself, or the indices and values of a sparse one.

    None for one that cannot be taken apart.
    """
    if can_be_copied(tensor):
        return [tensor]
    if not has_content(tensor) or tensor.is_nested or hasattr(tensor, "__tensor_flatten__"):
        return None
    view = tensor.detach()
    if view.layout is torch.sparse_coo:
        return [view._indices(), view._values()]
    if view.layout in (torch.sparse_csr, torch.sparse_bsr):
        return [view.crow_indices(), view.col_indices(), view.values()]
    if view.layout in (torch.sparse_csc, torch.sparse_bsc):
        return [view.ccol_indices(), view.row_indices(), view.values()]
    return [view.int_repr()] if view.is_quantized else None


def is_allocated(tensor: torch.Tensor) -> bool:
    """Whether the memory that a tensor describes exists: that of a sharded parameter is freed between its uses."""
    if not tensor.numel():
        return True
    if not _address(tensor):
        return False  # a tensor that stands for others, which are its attributes
    last = sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True))
    return tensor.untyped_storage().nbytes() >= (tensor.storage_offset() + last + 1) * tensor.element_size()


def _address(tensor: torch.Tensor) -> int:
    try:
        return tensor.data_ptr()
    except RuntimeError:  # it has no memory of its own
        return 0


def objects_in(array: np.ndarray[Any, Any]) -> list[Any]:
    """The objects that an array refers to, in the fields of its rows too."""
    if array.dtype.names is None:
        return list(array.flat) if array.dtype.hasobject else []
    return [each for name in array.dtype.names for each in objects_in(array[name])]


def copy_bits(tensor: torch.Tensor, *, to_cpu: bool) -> torch.Tensor:
    """A copy that shares no memory with the tensor."""
    view = compact(tensor)
    return view.to("cpu", copy=True) if to_cpu else view.clone()


def hold_same_bits(tensor: torch.Tensor, kept: torch.Tensor) -> bool:
    """Whether a tensor holds the same bits as the copy; unlike ``==``, -0 differs from 0 and NaN equals NaN."""
    view = compact(tensor)
    if view.shape != kept.shape or view.dtype != kept.dtype:
        return False
    return torch.equal(_as_integers(view), _as_integers(kept.to(view.device)))


def write_bits(tensor: torch.Tensor, kept: torch.Tensor) -> None:
    """Write a copy's bits back into the memory of the tensor."""
    with torch.inference_mode(tensor.is_inference()), torch.no_grad():
        _as_integers(compact(tensor)).copy_(_as_integers(kept))


def checksum(tensor: torch.Tensor) -> torch.Tensor | int:
    """A checksum over all bits of a tensor, sensitive to their order; for a tensor on a GPU it stays there."""
    raw = _as_integers(compact(tensor).contiguous().reshape(-1)).reshape(-1).view(torch.uint8)
    if raw.device.type == "cpu" and raw.numel() <= SMALL_BYTES:
        # Of a copy, because torch no longer lets a tensor be resized that was once handed to NumPy.
        return zlib.crc32(raw.clone().numpy().tobytes())
    return _sums(*_words(raw))


def array_checksum(array: np.ndarray[Any, Any]) -> int:
    """The checksum of an array."""
    raw = _raw(array)
    if raw.nbytes <= SMALL_BYTES:
        return zlib.crc32(raw.tobytes())
    whole = raw.size // _WORD_BYTES * _WORD_BYTES
    words = raw[:whole].view(np.uint64)
    rows = words.size // _COLUMNS * _COLUMNS
    table = words[:rows].reshape(-1, _COLUMNS)
    by_row = table.sum(1, dtype=np.uint64)
    rest = words[rows:].tobytes() + raw[whole:].tobytes()
    places = np.arange(1, 2 * by_row.size, 2, dtype=np.uint64)
    return hash((table.sum(0, dtype=np.uint64).tobytes(), int((by_row * places).sum(dtype=np.uint64)), rest))


def arrays_hold_same_bits(array: np.ndarray[Any, Any], kept: np.ndarray[Any, Any]) -> bool:
    """Whether an array holds the same bits as the copy."""
    if array.shape != kept.shape or array.dtype != kept.dtype:
        return False
    if array.dtype.hasobject and array.dtype.names is not None:
        return all(arrays_hold_same_bits(array[name], kept[name]) for name in array.dtype.names)
    if array.dtype.hasobject:
        return all(map(operator.is_, array.flat, kept.flat))
    return bool(np.array_equal(_raw(array), _raw(kept)))


def _raw(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8)


def _as_integers(tensor: torch.Tensor) -> torch.Tensor:
    if tensor.is_conj() or tensor.is_neg():
        tensor = tensor.resolve_conj().resolve_neg()
    if tensor.is_complex():
        tensor = torch.view_as_real(tensor)
    kind = _INTEGER_OF_SIZE[tensor.element_size()]
    return tensor if tensor.dtype is kind else tensor.view(kind)


def _words(raw: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Bytes as 8-byte words, and the remaining bytes."""
    whole = raw.numel() // _WORD_BYTES * _WORD_BYTES
    head = raw[:whole]
    if head.storage_offset() % _WORD_BYTES:
        head = head.clone()
    return head.view(torch.int64), raw[whole:]


def _sums(words: torch.Tensor, rest: torch.Tensor) -> torch.Tensor:
    """Weighted sums of the words: a weight for each column, and one for each row."""
    rows = words.numel() // _COLUMNS * _COLUMNS
    table, tail = words[:rows].view(-1, _COLUMNS), words[rows:]
    weights = torch.arange(1, 2 * _COLUMNS, 2, device=words.device)
    by_row = table.sum(1)
    places = torch.arange(1, 2 * by_row.numel(), 2, device=words.device)
    edge = (tail * weights[: tail.numel()]).sum() + (rest.to(torch.int64) * weights[: rest.numel()]).sum()
    return (table.sum(0) * weights).sum() + 3 * (by_row * places).sum() + 7 * edge


def position_of(generator: Any) -> Any:
    """The position of a torch, NumPy or Python generator; of a sequence of seeds, how many it has given."""
    if isinstance(generator, random.Random):
        return generator.getstate()
    if isinstance(generator, np.random.Generator):
        return copy.deepcopy(generator.bit_generator.state)
    if isinstance(generator, np.random.BitGenerator):
        return copy.deepcopy(generator.state)
    if isinstance(generator, np.random.SeedSequence):
        return generator.__reduce__()[2]
    return copy.deepcopy(generator.get_state())


def set_position(generator: Any, position: Any) -> None:
    """Restore a generator's position."""
    if isinstance(generator, random.Random):
        generator.setstate(position)
    elif isinstance(generator, np.random.Generator):
        generator.bit_generator.state = position
    elif isinstance(generator, np.random.BitGenerator):
        generator.state = position
    elif isinstance(generator, np.random.SeedSequence):
        generator.__setstate__(position)  # type: ignore[attr-defined]  # missing in the stubs
    else:
        generator.set_state(position)


def keep_shared_generators(device_type: str) -> list[tuple[str, Restore]]:
    """The name of each process-wide generator, with a function that restores it."""
    torch_state, numpy_state, python_state = torch.get_rng_state(), np.random.get_state(), random.getstate()
    kept: list[tuple[str, Restore]] = [
        ("torch's random numbers", lambda: torch.set_rng_state(torch_state)),
        ("NumPy's random numbers", lambda: np.random.set_state(numpy_state)),
        ("Python's random numbers", lambda: random.setstate(python_state)),
    ]
    if torch.cuda.is_available() and torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        cuda_states = torch.cuda.get_rng_state_all()
        kept.append(("CUDA's random numbers", lambda: torch.cuda.set_rng_state_all(cuda_states)))
    if device_type == "mps":
        mps_state = torch.mps.get_rng_state()
        kept.append(("MPS's random numbers", lambda: torch.mps.set_rng_state(mps_state)))
    return kept


def shared_positions(device_type: str) -> str:
    """Positions of the process-wide generators, as text that is equal if the positions are."""
    numpy_state = [each.tobytes() if isinstance(each, np.ndarray) else each for each in np.random.get_state()]
    states: list[Any] = [torch.get_rng_state().numpy().tobytes(), tuple(numpy_state), random.getstate()]
    if torch.cuda.is_available() and torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        states += [each.numpy().tobytes() for each in torch.cuda.get_rng_state_all()]
    if device_type == "mps":
        states.append(torch.mps.get_rng_state().numpy().tobytes())
    return str(hash(tuple(states)))
