"""Training throughput: Lambda's newest suite, by the two tables that its repository compiles from its logs.

Kept: the median over machines of a GPU, a count and a task that the table has, where it is off by more than 0.5%, and
new GPUs of MODELS. Refused: what is marked as a backup ("_bk"), a GH200 called 80 GB, figures of 0, and new rows of
several GPUs that scale more than linearly, which the log cannot explain. The suites v0 and v1, of 2020 to 2023, were
read from single logs, each named by its row; their repository is pinned and they are not read again.
"""

from __future__ import annotations

import csv
import io
import re
import statistics
from collections import defaultdict
from collections.abc import Iterable

from versions import Change, add_row, set_cell

COMMIT = "aa5addb6a53675a649a80036dad548f1c27cbcc4"
AS_OF = "2025-12-17"
PAGES = {
    f"lambda_v2_{precision}.csv": f"https://raw.githubusercontent.com/lambdal/deeplearning-benchmark/{COMMIT}/"
    f"pytorch/pytorch-train-throughput-v2-{precision}.csv"
    for precision in ("fp16", "fp32")
}
MODELS = {
    "H100_80GB_SXM5": "nvidia-h100-sxm5-80gb",
    "H100_80GB_PCIe": "nvidia-h100-pcie-80gb",
    "H200_140GB_SXM": "nvidia-h200-sxm-141gb",
    "GH200_96GB": "nvidia-gh200-96gb",
    "B200_192GB": "nvidia-b200-sxm-180gb",
}
UNITS = {
    "ssd": "images/s",
    "bert_base_squad": "sequences/s",
    "bert_large_squad": "sequences/s",
    "gnmt": "tokens/s",
    "resnet50": "images/s",
    "tacotron2": "mel_frames/s",
    "waveglow": "audio_samples/s",
}
OFF, LINEAR = 0.005, 1.1
_MACHINE = re.compile(rf"_(?P<count>\d+)x(?P<model>{'|'.join(MODELS)})_")

Rates = dict[tuple[str, str, int], list[float]]  # by task, GPU and how many


def changes(pages: dict[str, bytes], before: Iterable[dict[str, str | None]]) -> list[Change]:
    """The lines that bring the newest suite's medians into the table."""
    rows = {
        (row["task"], row["precision"], row["gpu_id"], row["gpu_count"]): row for row in before if row["suite"] == "v2"
    }
    lines: list[Change] = []
    for precision in ("fp16", "fp32"):
        file = f"pytorch-train-throughput-v2-{precision}.csv"
        rates = read_rates(pages[f"lambda_v2_{precision}.csv"])
        for (task, gpu_id, count), machines in sorted(rates.items()):
            row, median = rows.get((task, precision, gpu_id, str(count))), statistics.median(machines)
            key = f"v2|{task}|{precision}|{gpu_id}|{count}"
            cells = {"throughput": f"{median:g}", "machine_count": str(len(machines))}
            if row is not None and abs(float(row["throughput"] or 0.0) / median - 1.0) <= OFF:
                continue
            if row is None:
                if _is_too_good(median, count, rates.get((task, gpu_id, 1))):
                    continue
                lines.append(add_row(key, file))
                cells |= {"unit": UNITS[task], "uses_tf32": str(precision == "fp32").lower(), "as_of": AS_OF}
            lines += [set_cell(key, column, value) for column, value in cells.items()]
    return lines


def _is_too_good(rate: float, count: int, single: list[float] | None) -> bool:
    return count > 1 and (single is None or rate > LINEAR * count * statistics.median(single))


def read_rates(content: bytes) -> Rates:
    """Throughput of every machine by task, GPU and how many of it ran."""
    rates: Rates = defaultdict(list)
    for row in csv.DictReader(io.StringIO(content.decode())):
        name = row.pop("")
        machine = _MACHINE.search(f"_{name}_")
        if machine is None or name.endswith("_bk"):
            continue
        for task, text in row.items():
            if task in UNITS and float(text or 0.0) > 0.0:
                rates[task, MODELS[machine["model"]], int(machine["count"])].append(float(text))
    return rates
