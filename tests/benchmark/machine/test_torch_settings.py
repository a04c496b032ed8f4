"""Settings of torch are restored as they were, under their older and their newer names."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from greenlove_mlflow.benchmark.machine.torch_settings import (
    convolves_in_tf32,
    keep_settings,
    multiplies_in_tf32,
)

NEWER_NAMES = pytest.mark.skipif(not hasattr(torch.backends, "fp32_precision"), reason="names of PyTorch 2.9 and later")


@pytest.fixture
def fresh_precision() -> Iterator[None]:
    """Leaves TF32 as PyTorch starts with it."""
    yield
    torch.backends.fp32_precision = "none"  # type: ignore[attr-defined]
    torch.backends.cuda.matmul.fp32_precision = "none"  # type: ignore[attr-defined]
    torch.backends.cudnn.conv.fp32_precision = "tf32"  # type: ignore[attr-defined]


def test_every_setting_that_a_step_may_turn_is_as_it_was() -> None:
    def default_device() -> torch.device:
        return torch.empty(0).device  # PyTorch 2.4's get_default_device raises once one was set to None

    def seen() -> list[object]:
        return [
            torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled(),
            torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic, torch.backends.cudnn.allow_tf32,
            torch.get_float32_matmul_precision(), torch.is_anomaly_enabled(), torch.get_num_threads(),
            torch.is_autocast_enabled("cpu"), torch.get_autocast_dtype("cpu"), torch.get_default_dtype(),
            default_device(), torch.is_grad_enabled(), torch.backends.mkldnn.enabled,
        ]  # fmt: skip

    before, kept = seen(), keep_settings()
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.backends.cudnn.benchmark = torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.allow_tf32 = False
    torch.set_float32_matmul_precision("medium")
    torch.autograd.set_detect_anomaly(True)
    torch.set_num_threads(torch.get_num_threads() + 1)
    torch.set_autocast_enabled("cpu", True)
    torch.set_autocast_dtype("cpu", torch.float16)
    torch.set_default_dtype(torch.float64)
    torch.set_default_device("meta")
    torch.set_grad_enabled(False)
    torch.backends.mkldnn.enabled = False  # type: ignore[assignment]
    assert all(now != was for now, was in zip(seen(), before, strict=True))
    for _, restore in kept:
        restore()
    assert seen() == before
    assert not torch.overrides._get_current_function_mode_stack()  # a default device of None is none, not the CPU


@NEWER_NAMES
def test_a_precision_set_by_its_newer_name_is_read_and_kept(fresh_precision: None) -> None:
    assert not multiplies_in_tf32()
    torch.backends.cuda.matmul.fp32_precision = "tf32"  # type: ignore[attr-defined]
    torch.backends.fp32_precision = "tf32"  # type: ignore[attr-defined]
    with pytest.raises(RuntimeError):
        torch.get_float32_matmul_precision()  # why it is asked for under both names
    assert multiplies_in_tf32()
    kept = keep_settings()
    torch.backends.cuda.matmul.fp32_precision = "ieee"  # type: ignore[attr-defined]
    for _, restore in kept:
        restore()
    assert torch.backends.cuda.matmul.fp32_precision == "tf32"  # type: ignore[attr-defined]


@NEWER_NAMES
def test_a_precision_of_convolutions_alone_is_read(fresh_precision: None) -> None:
    assert convolves_in_tf32()
    torch.backends.cudnn.conv.fp32_precision = "ieee"  # type: ignore[attr-defined]
    assert not convolves_in_tf32()
