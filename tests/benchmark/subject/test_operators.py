"""Operators counted: what launches kernels, how much they compute, and nothing left behind."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from greenlove_mlflow.benchmark.subject.operators import (
    OperatorCounter,
    count_operators,
    reason_not_to_count,
    time_dispatch_s,
)
from greenlove_mlflow.core.timing.timeline import KernelFactors, OperatorCounts, expected_launches


def step_of(model: nn.Module, optimizer: torch.optim.Optimizer, inputs: torch.Tensor) -> Any:
    def run() -> None:
        optimizer.zero_grad()
        output = model(inputs)
        (output[0] if isinstance(output, tuple) else output).sum().backward()
        optimizer.step()

    run()  # states of the optimizer exist from the second step on
    return run


def counted(model: nn.Module, inputs: torch.Tensor, kind: Any = torch.optim.SGD) -> OperatorCounts:
    optimizer = kind(model.parameters(), lr=0.1)
    counts = count_operators(step_of(model, optimizer, inputs), [model], [optimizer])
    assert counts is not None
    return counts


def test_views_launch_nothing() -> None:
    with OperatorCounter() as counter:
        torch.ones(4, 6).view(6, 4).transpose(0, 1)[1:].expand(3, 6).detach().reshape(18)

    assert counter.operator_count == 2  # the ones, and the copy that reshape makes of an expanded view


def test_backward_and_optimizer_are_counted_beside_forward() -> None:
    # addmm; sum; backward: ones, expand (a view), mm for the weight, sum for the bias; foreach add of two parameters
    counts = counted(nn.Linear(3, 5), torch.ones(7, 3))

    assert 5 <= counts.operator_count <= 8
    assert counts.flop_count == 2 * (2 * 7 * 3 * 5)
    assert counts.moved_bytes > 4 * (7 * 3 + 3 * 5 + 7 * 5)


def test_optimizer_updates_all_parameters_at_once_as_on_a_gpu() -> None:
    shallow = counted(nn.Sequential(*[nn.Linear(4, 4) for _ in range(2)]), torch.ones(2, 4), torch.optim.Adam)
    deep = counted(nn.Sequential(*[nn.Linear(4, 4) for _ in range(12)]), torch.ones(2, 4), torch.optim.Adam)

    assert (deep.operator_count - shallow.operator_count) / 10 < 8.0


def test_options_of_the_optimizer_are_as_they_were() -> None:
    model = nn.Linear(2, 2)
    optimizer = torch.optim.Adam(model.parameters(), foreach=None)
    before = [dict(group) for group in optimizer.param_groups]

    def fail() -> None:
        raise RuntimeError

    with pytest.raises(RuntimeError):
        count_operators(fail, [model], [optimizer])

    assert [dict(group) for group in optimizer.param_groups] == before


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
def test_recurrent_layers_are_counted_by_time_steps_not_by_operators(kind: Any) -> None:
    short = counted(kind(4, 6, 2), torch.ones(5, 3, 4))
    long = counted(kind(4, 6, 2), torch.ones(50, 3, 4))

    assert short.recurrent_step_count == 10
    assert long.recurrent_step_count == 100
    assert long.operator_count == pytest.approx(short.operator_count, abs=2.0)
    weights = sum(each.numel() for each in kind(4, 6, 2).parameters() if each.dim() == 2)
    assert long.flop_count == pytest.approx(3 * 2.0 * 50 * 3 * weights, rel=0.25)


def test_hooks_on_recurrent_layers_are_gone_and_no_random_number_was_drawn() -> None:
    layer = nn.GRU(4, 6, bidirectional=True, batch_first=True)
    run = step_of(layer, torch.optim.SGD(layer.parameters(), lr=0.1), torch.ones(2, 7, 4))
    before = torch.get_rng_state()

    counts = count_operators(run, [layer])

    assert counts is not None
    assert counts.recurrent_step_count == 14
    assert not layer._forward_pre_hooks
    assert torch.equal(torch.get_rng_state(), before)


def test_attention_on_a_cpu_has_its_products_counted() -> None:
    query = torch.ones(2, 3, 5, 8, requires_grad=True)
    with OperatorCounter() as forward:
        result = nn.functional.scaled_dot_product_attention(query, query, query)
    with OperatorCounter() as backward:
        result.sum().backward()

    assert forward.flop_count == 2 * 2 * 2 * 3 * 5 * 5 * 8
    assert backward.flop_count == 2.5 * forward.flop_count


def test_operators_made_of_others_count_as_what_they_are_made_of_without_gradients_too() -> None:
    with torch.no_grad(), OperatorCounter() as counter:
        nn.functional.linear(torch.ones(2, 3), torch.ones(4, 3), torch.ones(4))

    assert counter.flop_count == 2 * 2 * 3 * 4


def test_counting_gives_up_when_its_time_is_over() -> None:
    model = nn.Linear(3, 5)
    run = step_of(model, torch.optim.SGD(model.parameters(), lr=0.1), torch.ones(7, 3))

    assert count_operators(run, [model], until_s=0.0) is None


def test_compiled_and_scripted_models_are_not_counted() -> None:
    class OptimizedModule(nn.Module):
        """Of the name that torch.compile gives."""

    plain = nn.Linear(2, 2)
    inner = nn.Sequential(nn.Linear(2, 2))
    inner[0]._compiled_call_impl = lambda *_: None

    assert reason_not_to_count(plain) == ""
    assert "compiled" in reason_not_to_count(OptimizedModule())
    assert "compiled" in reason_not_to_count(inner)
    assert "scripted" in reason_not_to_count(torch.jit.trace(plain, torch.ones(1, 2)))


def test_dispatching_an_operator_takes_microseconds() -> None:
    dispatch_s = time_dispatch_s()

    assert dispatch_s is not None
    assert 1e-8 < dispatch_s < 1e-3


def test_launches_follow_operators_and_time_steps() -> None:
    counts = OperatorCounts(operator_count=30.0, recurrent_step_count=384.0)

    assert expected_launches(counts, KernelFactors(per_operator=1.5, per_recurrent_step=5.4)) == pytest.approx(2118.6)
