"""Finds the board that training runs on in NVML, by UUID; a bare index could name the wrong board."""

from __future__ import annotations

import importlib
import logging
import sys
from dataclasses import dataclass
from typing import Any

logger = logging.getLogger(__name__)

# The largest 64-bit values mean "not available".
_NOT_AVAILABLE = 2.0**63


@dataclass(frozen=True, slots=True, kw_only=True)
class BoardRequest:
    """What is known about the board that training runs on.

    Args:
        index: Device index in torch's order.
        uuid: Its UUID by torch, with or without ``GPU-``; None if torch does not report it.
        bus_id: Its PCI address by torch, ``0000:65:00.0``; None if torch does not report it.
        name: Its name by torch.
        gpu_index: NVML index from the caller; None if not given.
        visible_devices: ``CUDA_VISIBLE_DEVICES``; None if unset or not passed in.
        device_order: ``CUDA_DEVICE_ORDER``.
        neighbour_pids: Other processes of the same training on this machine.
    """

    index: int = 0
    uuid: str | None = None
    bus_id: str | None = None
    name: str | None = None
    gpu_index: int | None = None
    visible_devices: str | None = None
    device_order: str | None = None
    neighbour_pids: tuple[int, ...] = ()

    @property
    def place(self) -> str:
        """What tells the board from others of its machine; the slices of one board have one PCI address.

        >>> BoardRequest(uuid="MIG-1", bus_id="00000000:65:00.0").place, BoardRequest(uuid="GPU-1").place
        ('00000000:65:00.0', 'GPU-1')
        """
        return self.bus_id or self.uuid or f"{self.index} of {self.visible_devices}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Board:
    """A board that was found: its NVML handle, and whether training runs on one MIG slice of it."""

    handle: Any
    is_sliced: bool
    found_by: str


class BoardNotFoundError(Exception):
    """The board of the training could not be identified; the message says why. Never leaves this package."""


def find_board(nvml: Any, request: BoardRequest) -> Board:
    """The board that training runs on.

    Raises:
        BoardNotFoundError: If no board matches, or more than one does.
    """
    if request.uuid is not None:
        board = _by_uuid(nvml, request.uuid, "uuid")
        if board is not None:
            return board
    if request.bus_id is not None:
        handle = call(nvml, "nvmlDeviceGetHandleByPciBusId", request.bus_id)
        if handle is not None:
            return _board(nvml, handle, "pci address")
    if request.uuid is not None:
        raise BoardNotFoundError(f"NVML knows no board {request.uuid}, which torch trains on")
    return _by_environment(nvml, request)


def load_nvml() -> Any:
    """The ``pynvml`` module; None if it cannot be imported."""
    try:
        return importlib.import_module("pynvml")
    except Exception as error:  # noqa: BLE001 - a broken installation may raise anything, and power is optional
        logger.debug("no pynvml: %s", error)
        return None


def request_board(
    torch_device: Any,
    *,
    uuid: str | None = None,
    gpu_index: int | None = None,
    visible_devices: str | None = None,
    device_order: str | None = None,
    neighbour_pids: tuple[int, ...] = (),
) -> BoardRequest | None:
    """What torch knows about its device, to find the board; None if the device is not a CUDA GPU.

    Args:
        torch_device: Device that training runs on.
        uuid: UUID of the board, for torch versions that do not report it.
        gpu_index: NVML index from the caller.
        visible_devices: ``CUDA_VISIBLE_DEVICES``.
        device_order: ``CUDA_DEVICE_ORDER``.
        neighbour_pids: Other processes of the same training on this machine.
    """
    kind, _, number = str(torch_device or "").partition(":")
    if kind != "cuda":
        return None
    index = int(number) if number.isdigit() else _current_device()
    properties = _device_properties(index)
    said = getattr(properties, "uuid", None)
    return BoardRequest(
        index=index,
        uuid=uuid if said is None else str(said),
        bus_id=_bus_id(properties),
        name=getattr(properties, "name", None),
        gpu_index=gpu_index,
        visible_devices=visible_devices,
        device_order=device_order,
        neighbour_pids=neighbour_pids,
    )


def visible_entries(visible_devices: str) -> tuple[str, ...]:
    """The entries of ``CUDA_VISIBLE_DEVICES`` that CUDA honours: all before the first empty or invalid one.

    >>> visible_entries(" 1, GPU-8f3c ,0,")
    ('1', 'GPU-8f3c', '0')
    >>> visible_entries("-1")
    ()
    >>> visible_entries("0,-1,1")
    ('0',)
    """
    entries: list[str] = []
    for entry in (part.strip() for part in visible_devices.split(",")):
        if not (entry.isdigit() or entry.startswith(("GPU-", "MIG-"))):
            break
        entries.append(entry)
    return tuple(entries)


def call(nvml: Any, function: str, *arguments: Any) -> Any:
    """The result of an NVML function; None if it is missing, not supported or failed."""
    try:
        return getattr(nvml, function)(*arguments)
    except Exception as error:  # noqa: BLE001 - boundary to the binding: besides NVMLError it raises whatever ctypes raises
        logger.debug("%s: %s", function, error)
        return None


def as_number(value: Any) -> float | None:
    """A finite number as a float; None for anything else that a binding may return ("N/A", None, NaN, a sentinel).

    >>> [as_number(value) for value in (60, 1.5, "N/A", None, float("nan"), True, 2**64 - 1)]
    [60.0, 1.5, None, None, None, None, None]
    """
    if isinstance(value, (bool, str, bytes)):
        return None
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if abs(number) < _NOT_AVAILABLE else None


def as_text(value: Any) -> str:
    """A name or UUID as text; older bindings return bytes."""
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def _by_uuid(nvml: Any, uuid: str, found_by: str) -> Board | None:
    """The board with a UUID (with or without prefix), or of a slice with that UUID; None if NVML knows neither."""
    bare = uuid.removeprefix("GPU-")
    spellings = (uuid,) if uuid.startswith("MIG-") else (f"GPU-{bare}", f"MIG-{bare}")
    for spelling in spellings:
        handle = call(nvml, "nvmlDeviceGetHandleByUUID", spelling)
        if handle is not None:
            return _board(nvml, handle, found_by)
    return None


def _board(nvml: Any, handle: Any, found_by: str) -> Board:
    """The board of a handle; for a slice its whole board, because only that has a power sensor."""
    if call(nvml, "nvmlDeviceIsMigDeviceHandle", handle):
        parent = call(nvml, "nvmlDeviceGetDeviceHandleFromMigDeviceHandle", handle)
        if parent is None:
            raise BoardNotFoundError("the board of the MIG slice could not be read")
        return Board(handle=parent, is_sliced=True, found_by=found_by)
    mode = call(nvml, "nvmlDeviceGetMigMode", handle)
    is_sliced = isinstance(mode, (list, tuple)) and bool(mode) and as_number(mode[0]) == 1.0
    return Board(handle=handle, is_sliced=is_sliced, found_by=found_by)


def _by_environment(nvml: Any, request: BoardRequest) -> Board:
    """The board by CUDA's environment variables, if torch could not identify it."""
    if request.visible_devices is not None:
        entries = visible_entries(request.visible_devices)
        if request.index >= len(entries):
            raise BoardNotFoundError(f"CUDA_VISIBLE_DEVICES={request.visible_devices!r} names no board {request.index}")
        entry = entries[request.index]
        if not entry.isdigit():
            return _by_prefix(nvml, entry)
        return _by_index(nvml, request, int(entry))
    return _by_index(nvml, request, request.index if request.gpu_index is None else request.gpu_index)


def _by_prefix(nvml: Any, entry: str) -> Board:
    """The board whose UUID starts with an entry of ``CUDA_VISIBLE_DEVICES``, which CUDA allows to be abbreviated."""
    board = _by_uuid(nvml, entry, "CUDA_VISIBLE_DEVICES")
    if board is not None:
        return board
    if entry.startswith("MIG-GPU-"):
        # The older spelling of a slice: MIG-GPU-<uuid of the board>/<instance>/<instance>.
        board = _by_uuid(nvml, entry.removeprefix("MIG-").split("/")[0], "CUDA_VISIBLE_DEVICES")
        if board is not None:
            return Board(handle=board.handle, is_sliced=True, found_by=board.found_by)
    matches = [handle for handle, uuid, _ in _all_boards(nvml) if uuid.startswith(entry)]
    if len(matches) != 1:
        raise BoardNotFoundError(f"CUDA_VISIBLE_DEVICES names {entry}, which matches {len(matches)} boards")
    return _board(nvml, matches[0], "CUDA_VISIBLE_DEVICES")


def _by_index(nvml: Any, request: BoardRequest, index: int) -> Board:
    """The board of a CUDA or NVML index if both use the same order; else the only board with torch's device name.

    CUDA orders the fastest first unless ``CUDA_DEVICE_ORDER=PCI_BUS_ID``; NVML orders by PCI address.
    """
    boards = _all_boards(nvml)
    named = [handle for handle, _, name in boards if request.name is None or name == request.name]
    alike = request.device_order == "PCI_BUS_ID" or len({name for _, _, name in boards}) == 1
    asked = request.gpu_index is not None and request.visible_devices is None
    if (alike or asked) and index < len(boards):
        handle, _, name = boards[index]
        if request.name is None or name == request.name:
            return _board(nvml, handle, "index")
        raise BoardNotFoundError(f"board {index} is a {name}, the training runs on a {request.name}")
    if len(named) == 1 and not asked:
        return _board(nvml, named[0], "name")
    raise BoardNotFoundError(f"index {index} does not say which of {len(boards)} boards the training runs on")


def _all_boards(nvml: Any) -> list[tuple[Any, str, str]]:
    """Handle, UUID and name of every board that answers, in NVML's order."""
    boards = []
    for index in range(int(as_number(call(nvml, "nvmlDeviceGetCount")) or 0)):
        handle = call(nvml, "nvmlDeviceGetHandleByIndex", index)
        if handle is not None:
            uuid = as_text(call(nvml, "nvmlDeviceGetUUID", handle) or "")
            boards.append((handle, uuid, as_text(call(nvml, "nvmlDeviceGetName", handle) or "")))
    return boards


def _current_device() -> int:
    torch = sys.modules.get("torch")
    try:
        return int(torch.cuda.current_device()) if torch is not None else 0
    except (RuntimeError, AssertionError):
        return 0


def _device_properties(index: int) -> Any:
    """Torch's properties of a CUDA device; None if torch is not installed or built without CUDA."""
    torch = sys.modules.get("torch")
    if torch is None:
        return None
    try:
        return torch.cuda.get_device_properties(index)
    except (RuntimeError, AssertionError):
        return None


def _bus_id(properties: Any) -> str | None:
    """The PCI address of a board as NVML spells it; None if torch does not report it."""
    bus = getattr(properties, "pci_bus_id", None)
    if bus is None:
        return None
    domain, device = getattr(properties, "pci_domain_id", 0), getattr(properties, "pci_device_id", 0)
    return f"{domain:08x}:{bus:02x}:{device:02x}.0"
