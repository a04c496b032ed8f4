"""The energy of two ranks on the boards of one machine: every board once."""

from __future__ import annotations

import sys
import threading
import time
from types import SimpleNamespace

import pytest
import torch
from torch.distributed import HashStore  # type: ignore[attr-defined]

from greenlove_mlflow.benchmark.ranks import Member, Ranks
from greenlove_mlflow.environment import read_environment
from greenlove_mlflow.pipeline.ground import Ground, read_ground
from greenlove_mlflow.pipeline.live.rank_power import RankMeter, Reporter
from greenlove_mlflow.pipeline.options import make_options
from greenlove_mlflow.power import rapl
from tests.support.nvml import FakeBoard, FakeNvml

BOARDS = (
    FakeBoard(power_w=300.0),
    FakeBoard(power_w=200.0, uuid="GPU-99999999-8888-7777-6666-555555555555", bus_id="00000000:66:00.0"),
)


@pytest.mark.parametrize(
    ("devices", "energy_j", "said"),
    [(("cuda:0", "cuda:1"), 5000.0, set()), (("cuda:0", "cuda:0"), 3000.0, {"ranks-share-boards"})],
)
def test_a_board_is_counted_once_however_many_ranks_train_on_it(
    devices: tuple[str, str], energy_j: float, said: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s = [1000.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now_s[0])
    monkeypatch.setattr(rapl, "POWERCAP", rapl.POWERCAP / "nowhere")
    monkeypatch.setitem(sys.modules, "pynvml", FakeNvml(*BOARDS))
    monkeypatch.setattr(
        torch.cuda,
        "get_device_properties",
        lambda index: SimpleNamespace(uuid=BOARDS[index].uuid.removeprefix("GPU-"), name=BOARDS[index].name),
    )
    store, members = HashStore(), [Member(host="a", pid=pid, asks="") for pid in (1, 2)]
    ranks = [Ranks(store, rank=rank, members=members) for rank in (0, 1)]
    grounds: dict[int, Ground] = {}

    def read(rank: int) -> None:
        options = make_options(1, {})
        grounds[rank] = read_ground(torch.device(devices[rank]), options, read_environment(), ranks[rank])

    threads = [threading.Thread(target=read, args=(rank,)) for rank in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=20.0)
    with grounds[0].open_meter() as first, grounds[1].open_meter() as second:
        meter, reporter = RankMeter(first, ranks[0]), Reporter(second, ranks[1], "gpu_1")
        now_s[0] += 10.0
        reporter.report(is_final=True)
        meter.refresh()
        assert meter.energy_j() == pytest.approx(energy_j, rel=1e-6)
        assert meter.is_metered
    assert {caveat.code for caveat in grounds[0].caveats} & {"ranks-share-boards"} == said
