"""Random number generators: their positions, and how to restore them."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

Restore = Callable[[], object]


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
