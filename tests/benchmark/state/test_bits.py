"""Bits are compared as bits, and a checksum sees any of them change."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from greenlove_mlflow.benchmark.state import bits


def test_zero_is_not_minus_zero_and_not_a_number_is_itself() -> None:
    zeros, gap = torch.zeros(3), torch.tensor([float("nan"), 1.0])
    assert not bits.hold_same_bits(zeros, -zeros)
    assert bits.hold_same_bits(gap, gap.clone())


@pytest.mark.parametrize(
    "dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.int64, torch.bool, torch.complex64]
)
def test_a_copy_gives_every_bit_back(dtype: torch.dtype) -> None:
    tensor = torch.arange(12).reshape(3, 4).t().to(dtype)
    kept = bits.copy_bits(tensor, to_cpu=False)
    tensor.copy_(torch.zeros_like(tensor))
    assert not bits.hold_same_bits(tensor, kept)
    bits.write_bits(tensor, kept)
    assert bits.hold_same_bits(tensor, kept)
    assert torch.equal(tensor, torch.arange(12).reshape(3, 4).t().to(dtype))


def test_an_expanded_tensor_is_kept_once_and_can_be_written() -> None:
    base = torch.arange(4.0)
    tensor = base.view(1, 4).expand(1000, 4)
    kept = bits.copy_bits(tensor, to_cpu=False)
    assert kept.numel() == 4
    base.zero_()
    bits.write_bits(tensor, kept)
    assert base.tolist() == [0.0, 1.0, 2.0, 3.0]


@pytest.mark.parametrize("count", [3, 1000, 100_003])
def test_a_checksum_sees_one_bit_and_the_order(count: int) -> None:
    tensor = torch.arange(count, dtype=torch.int16)
    before = int(bits.checksum(tensor))
    tensor[count // 2] ^= 1
    assert int(bits.checksum(tensor)) != before
    tensor[count // 2] ^= 1
    assert int(bits.checksum(tensor)) == before
    tensor[[0, count - 1]] = tensor[[count - 1, 0]]
    assert int(bits.checksum(tensor)) != before


@pytest.mark.parametrize("count", [3, 100_003])
def test_the_checksum_of_an_array_sees_one_bit_and_the_order(count: int) -> None:
    array = np.arange(count, dtype=np.int16)
    before = bits.array_checksum(array)
    array[[0, count - 1]] = array[[count - 1, 0]]
    assert bits.array_checksum(array) != before
    array[[0, count - 1]] = array[[count - 1, 0]]
    assert bits.array_checksum(array) == before
    array[1] ^= 1
    assert bits.array_checksum(array) != before


def test_a_tensor_can_still_be_resized_after_its_checksum_was_taken() -> None:
    tensor = torch.zeros(4)
    before = bits.checksum(tensor)
    tensor.resize_(100)
    assert bits.checksum(tensor) != before


def test_a_tensor_whose_memory_was_freed_is_not_read() -> None:
    tensor = torch.zeros(4)
    tensor.untyped_storage().resize_(0)
    assert not bits.can_be_copied(tensor)
    assert bits.parts_of(tensor) is None


@pytest.mark.parametrize("layout", [torch.sparse_coo, torch.sparse_csr, torch.sparse_csc])
def test_a_sparse_tensor_consists_of_indices_and_values(layout: torch.layout) -> None:
    *places, values = bits.parts_of((torch.eye(4) * 3.0).to_sparse(layout=layout)) or []
    assert places
    assert values.tolist() == [3.0] * 4
