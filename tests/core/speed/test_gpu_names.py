"""Names of GPUs: matched whole, never in part."""

from __future__ import annotations

import csv
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenlove_mlflow.core.speed.gpu_names import (
    ambiguity_caveat,
    boards_called,
    find_gpu,
    match_gpu,
    name_caveats,
    nearest_names,
)
from greenlove_mlflow.core.speed.gpus import GpuSpec
from greenlove_mlflow.errors import UnknownGpuError
from greenlove_mlflow.tables import read_gpu_specs, read_price_sheet

SPECS = read_gpu_specs()
ALIASES = [(alias, spec) for spec in SPECS for alias in spec.aliases]
SHARED = {alias for alias, _ in ALIASES if sum(alias == other for other, _ in ALIASES) > 1}
# Names as drivers, PyTorch, ROCm and Apple show them, with the memory they report, and the board each of them is;
# empty where no table has the board, or where the name alone is none's.
SEEN = list(csv.DictReader((Path(__file__).resolve().parents[2] / "recordings" / "gpu_names.csv").open()))


def a_spec(**over: Any) -> GpuSpec:
    return GpuSpec(**{"gpu_id": "maker-card", "name": "Maker Card", "aliases": ("Maker Card",), **over})


@pytest.mark.parametrize(("alias", "spec"), ALIASES, ids=[alias for alias, _ in ALIASES])
def test_every_alias_finds_its_gpu_or_one_that_shares_name_and_memory(alias: str, spec: GpuSpec) -> None:
    found = match_gpu(alias, SPECS, memory_gib=spec.memory_gib)
    if found is None:
        assert alias in SHARED
        return
    assert alias in found.aliases
    if alias not in SHARED:
        assert found.gpu_id == spec.gpu_id
    else:
        assert found.memory_gib == spec.memory_gib


@given(st.sampled_from(ALIASES), st.randoms(use_true_random=False))
def test_case_spaces_and_hyphens_do_not_matter(pair: tuple[str, GpuSpec], random: Any) -> None:
    alias, spec = pair
    text = "".join(random.choice((letter.upper(), letter.lower())) for letter in alias)
    text = f"  {text.replace(' ', random.choice((' ', '  ', '-')))} "
    assert match_gpu(text, SPECS, memory_gib=spec.memory_gib) == match_gpu(alias, SPECS, memory_gib=spec.memory_gib)


def words_of(name: str) -> list[str]:
    """The words of a model: without its maker, its memory and how it is built."""
    plain = re.sub(r"\b\d+ ?gi?b\b", " ", name.casefold().replace("-", " "))
    makers = r"nvidia|geforce|amd|radeon|tesla|apple|instinct|grid|intel"
    left_out = makers + r"|pcie|sxm\d?|nvl|oam|hbm\d?e?|gddr\w*|gpu|graphics"
    return [word for word in plain.split() if not re.fullmatch(left_out, word)]


@given(st.sampled_from([alias for alias, _ in ALIASES]), st.text("abcdefgx0123456789", min_size=1, max_size=3))
def test_a_longer_or_shorter_name_is_another_name(alias: str, tail: str) -> None:
    for text in (alias + tail, alias[: -len(tail)]):
        found = match_gpu(text, SPECS)
        if found is not None:
            assert words_of(text) in [words_of(name) for name in (*found.aliases, found.name, found.gpu_id)]


@pytest.mark.parametrize(
    ("name", "gpu_id"),
    [
        ("Tesla T4", "nvidia-t4"),
        ("NVIDIA RTX A4000", "nvidia-rtx-a4000"),
        ("NVIDIA RTX A5000", "nvidia-rtx-a5000"),
        ("NVIDIA A40", "nvidia-a40"),
        ("NVIDIA A10", "nvidia-a10"),
        ("NVIDIA A10G", "nvidia-a10g"),
        ("NVIDIA A100 80GB PCIe", "nvidia-a100-pcie-80gb"),
        ("NVIDIA A100-SXM4-40GB", "nvidia-a100-sxm4-40gb"),
        ("NVIDIA H200", "nvidia-h200-sxm-141gb"),
        ("NVIDIA H100 80GB HBM3", "nvidia-h100-sxm5-80gb"),
        ("NVIDIA GeForce RTX 4090", "nvidia-geforce-rtx-4090"),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", "nvidia-geforce-rtx-4090-laptop"),
        ("RTX 4090", "nvidia-geforce-rtx-4090"),
        ("rtx 3080 ti", "nvidia-geforce-rtx-3080-ti"),
        ("nvidia-l40s", "nvidia-l40s"),
        ("Tesla V100-SXM2-32GB", "nvidia-v100-sxm2-32gb"),
    ],
)
def test_names_that_look_alike_are_told_apart(name: str, gpu_id: str) -> None:
    assert find_gpu(name, SPECS).gpu_id == gpu_id


@pytest.mark.parametrize(
    "name",
    [
        "H100", "A100 80GB", "A100", "RTX", "T40", "RTX A400 0", "NVIDIA", "4090", "RTX 4090 Super", "H200 NV",
        "NVIDIA RTX A1000 6GB Laptop GPU X", "V100 PCIe", "GH200", "RTX 3060", "MI450", "",
    ],
)  # fmt: skip
def test_a_near_miss_is_refused(name: str) -> None:
    assert match_gpu(name, SPECS) is None
    with pytest.raises(UnknownGpuError):
        find_gpu(name, SPECS)


def test_an_unknown_name_is_answered_by_a_question_with_the_nearest() -> None:
    with pytest.raises(UnknownGpuError, match=r"did you mean .*RTX 4090.*\?"):
        find_gpu("4090", SPECS)


@pytest.mark.parametrize(
    ("memory_gib", "gpu_id"), [(11.8, "nvidia-geforce-rtx-3060-12-gb"), (8.0, "nvidia-geforce-rtx-3060-8-gb")]
)
def test_memory_settles_a_name_that_boards_share(memory_gib: float, gpu_id: str) -> None:
    assert find_gpu("NVIDIA GeForce RTX 3060", SPECS, memory_gib=memory_gib).gpu_id == gpu_id


def test_a_shared_name_without_memory_asks_which() -> None:
    with pytest.raises(UnknownGpuError, match=r"12 GiB.*8 GiB|8 GiB.*12 GiB"):
        find_gpu("NVIDIA GeForce RTX 3060", SPECS)


def test_a_shared_name_with_a_memory_of_none_of_them_is_refused() -> None:
    assert match_gpu("NVIDIA GeForce RTX 3060", SPECS, memory_gib=24.0) is None


def test_boards_of_one_name_and_memory_leave_a_caveat() -> None:
    spec = find_gpu("NVIDIA GeForce RTX 2070", SPECS, memory_gib=8.0)
    caveat = ambiguity_caveat(spec, SPECS)
    assert caveat is not None
    assert caveat.code == "ambiguous-gpu"
    assert ambiguity_caveat(find_gpu("NVIDIA A10", SPECS), SPECS) is None


def test_names_of_the_price_sheet_are_known_where_they_are_given() -> None:
    sheet = read_price_sheet()
    names = {offer.gpu: offer.gpu_id for offer in sheet.offers}
    for name, gpu_id in names.items():
        assert find_gpu(name, SPECS, offer_names=names).gpu_id == gpu_id


def test_nearest_names_put_those_holding_the_words_first() -> None:
    names = ("Card One 8GB", "Cart One", "Card Two")
    assert nearest_names("card two", names)[0] == "Card Two"


def test_the_figures_of_the_table_are_dense_with_full_accumulation() -> None:
    assert find_gpu("RTX 4090", SPECS).fp16_tflops == pytest.approx(165.2, rel=0.01)
    t4, a10 = find_gpu("Tesla T4", SPECS), find_gpu("NVIDIA A10", SPECS)
    assert t4.fp16_tflops is not None
    assert a10.fp16_tflops is not None
    assert t4.fp16_tflops < a10.fp16_tflops


def test_a_maker_word_alone_is_no_prefix() -> None:
    assert match_gpu("Intel", [a_spec(name="Intel", aliases=("Intel",))]) is not None


@pytest.mark.parametrize(
    ("name", "gpu_id"),
    [
        ("MI300X", "amd-instinct-mi300x"),
        ("AMD Instinct MI300X VF", "amd-instinct-mi300x"),
        ("AMD Instinct MI250X/MI250", "amd-instinct-mi250x"),
        ("GB300", "nvidia-gb300-279gb"),
        ("B200", "nvidia-b200-sxm-180gb"),
        ("H100 80GB HBM3", "nvidia-h100-sxm5-80gb"),
        ("NVIDIA H100 80GB HBM2e", "nvidia-h100-pcie-80gb"),
        ("A100 SXM4 40GB", "nvidia-a100-sxm4-40gb"),
        ("A100-PCIe-80GB", "nvidia-a100-pcie-80gb"),
        ("a100 sxm 80 gb", "nvidia-a100-sxm4-80gb"),
        ("H100 SXM", "nvidia-h100-sxm5-80gb"),
        ("H100 NVL", "nvidia-h100-nvl-94gb"),
        ("Tesla V100-SXM2-32GB-LS", "nvidia-v100-sxm2-32gb"),
        ("NVIDIA GeForce RTX 2050", "nvidia-geforce-rtx-2050-laptop"),
        ("RTX PRO 6000 Blackwell Server Edition", "nvidia-rtx-pro-6000-blackwell-server-edition"),
        ("Apple M4", "apple-m4"),
    ],
)
def test_a_name_that_people_use_finds_the_one_board_it_means(name: str, gpu_id: str) -> None:
    assert find_gpu(name, SPECS).gpu_id == gpu_id


@pytest.mark.parametrize(
    ("name", "memory_gib", "gpu_id"),
    [
        ("H100", 93.1, "nvidia-h100-nvl-94gb"),
        ("GH200", 94.5, "nvidia-gh200-96gb"),
        ("GH200", 143.0, "nvidia-gh200-144gb-hbm3e"),
        ("A100 PCIe", 39.4, "nvidia-a100-pcie-40gb"),
        ("RTX 3060", 12.0, "nvidia-geforce-rtx-3060-12-gb"),
    ],
)
def test_memory_settles_a_short_name(name: str, memory_gib: float, gpu_id: str) -> None:
    assert find_gpu(name, SPECS, memory_gib=memory_gib).gpu_id == gpu_id


def test_a_short_name_that_fits_several_boards_is_refused_with_them_and_what_they_are_sold_as() -> None:
    names = {offer.gpu: offer.gpu_id for offer in read_price_sheet().offers}
    with pytest.raises(UnknownGpuError, match=r"A100 PCIe 80GB.*A100 SXM4 80GB .*sold as A100 SXM 80GB"):
        find_gpu("A100-80GB", SPECS, offer_names=names)


def test_a_short_name_means_the_one_board_of_its_kind_that_a_sheet_sells() -> None:
    names = {offer.gpu: offer.gpu_id for offer in read_price_sheet().offers}
    assert find_gpu("H100", SPECS, offer_names=names).gpu_id == "nvidia-h100-sxm5-80gb"


@pytest.mark.parametrize("name", ["MI450", "Apple M9", "NVIDIA X900", "GRID Z7-3Q"])
def test_a_name_with_another_number_is_near_to_nothing(name: str) -> None:
    with pytest.raises(UnknownGpuError, match="no known name is like it"):
        find_gpu(name, SPECS)


def test_a_mig_device_is_its_share_of_the_board() -> None:
    board = find_gpu("NVIDIA A100-SXM4-40GB", SPECS)
    part = find_gpu("NVIDIA A100-SXM4-40GB MIG 3g.20gb", SPECS)
    assert board.fp16_tflops is not None
    assert part.fp16_tflops == pytest.approx(board.fp16_tflops * 3 / 7)
    assert part.memory_gib == 20.0
    assert part.memory_bandwidth_gb_per_s == pytest.approx((board.memory_bandwidth_gb_per_s or 0.0) / 2)
    assert part.tdp_w == pytest.approx((board.tdp_w or 0.0) * 3 / 7)
    assert part.gpu_id != board.gpu_id
    assert [caveat.code for caveat in name_caveats(part, SPECS)] == ["gpu-slice"]
    assert name_caveats(board, SPECS) == ()


def test_a_vgpu_has_its_memory_and_the_board_in_turn() -> None:
    board, part = find_gpu("Tesla T4", SPECS), find_gpu("GRID T4-8Q", SPECS)
    assert part.memory_gib == 8.0
    assert part.fp16_tflops == board.fp16_tflops
    assert [caveat.code for caveat in name_caveats(part, SPECS)] == ["gpu-slice"]


def test_a_slice_of_more_than_the_board_is_none() -> None:
    assert match_gpu("GRID T4-32Q", SPECS) is None


@pytest.mark.parametrize("seen", SEEN, ids=[f"{seen['name']}, {seen['memory_gib']} GiB" for seen in SEEN])
def test_a_name_that_a_system_shows_is_the_board_it_is_of_or_none(seen: dict[str, str]) -> None:
    memory_gib = float(seen["memory_gib"]) if seen["memory_gib"] else None
    found = match_gpu(seen["name"], SPECS, memory_gib=memory_gib)
    assert (found.gpu_id if found else "") == seen["gpu_id"]


def test_many_names_of_every_maker_are_seen() -> None:
    known = {spec.gpu_id for spec in SPECS}
    found = {seen["gpu_id"] for seen in SEEN} - {""}
    assert len(SEEN) >= 170
    assert len(found) >= 150
    assert {gpu_id for gpu_id in found if gpu_id not in known} <= {
        gpu_id for gpu_id in found if "-mig-" in gpu_id or "-vgpu-" in gpu_id
    }


def numbers_of(name: str) -> set[str]:
    return {re.sub(r"\D", "", word) for word in re.split(r"[\s_-]", name)} - {""}


@pytest.mark.parametrize("name", sorted({seen["name"] for seen in SEEN if not seen["gpu_id"]}))
def test_a_name_of_no_board_is_refused_with_boards_of_its_number_or_its_hundred_or_none(name: str) -> None:
    with pytest.raises(UnknownGpuError) as refused:
        find_gpu(name, SPECS)
    called = [spec.name for spec in boards_called(name, SPECS)]
    near = called or nearest_names(name, [spec.name for spec in SPECS])
    assert all(each in str(refused.value) for each in near)
    numbers = numbers_of(name)
    hundreds = {number[:-2] for number in numbers if len(number) == 3}
    for each in near if numbers else ():
        own = numbers_of(each)
        holds_the_words = set(words_of(name)) <= set(words_of(each))
        assert holds_the_words or numbers & own or hundreds & {number[:-2] for number in own if len(number) == 3}, each


@pytest.mark.parametrize(
    ("name", "near", "far"),
    [
        ("AMD Instinct MI308X", "MI300X", "MI100"),
        ("NVIDIA A100-SXM-64GB", "A100 SXM4 80GB", "V100"),
        ("NVIDIA L2", "no known name is like it", "A2"),
        ("AMD Radeon RX 580", "no known name is like it", "Arc"),
    ],
)
def test_a_board_without_a_row_is_refused_with_its_series_and_with_no_other_letters_number(
    name: str, near: str, far: str
) -> None:
    with pytest.raises(UnknownGpuError) as refused:
        find_gpu(name, SPECS)
    assert near in str(refused.value)
    assert far not in str(refused.value)


@pytest.mark.parametrize(
    ("name", "gpu_id", "share"),
    [
        ("GRID A100D-20C", "nvidia-a100-pcie-80gb-vgpu-20gb", 1.0),
        ("GRID A100D-3-40C", "nvidia-a100-pcie-80gb-mig-40gb", 3 / 7),
        ("GRID A100X-20C", "nvidia-a100-sxm4-40gb-vgpu-20gb", 1.0),
        ("NVIDIA A30 MIG 2g.12gb", "nvidia-a30-mig-12gb", 2 / 4),
        ("NVIDIA H100 80GB HBM3 MIG 2g.20gb", "nvidia-h100-sxm5-80gb-mig-20gb", 2 / 7),
    ],
)
def test_a_slice_has_its_share_of_the_board_that_its_short_name_means(name: str, gpu_id: str, share: float) -> None:
    found = find_gpu(name, SPECS)
    board = next(spec for spec in SPECS if gpu_id.startswith((f"{spec.gpu_id}-vgpu", f"{spec.gpu_id}-mig")))
    assert found.gpu_id == gpu_id
    assert found.fp16_tflops == pytest.approx((board.fp16_tflops or 0.0) * share)


def test_a_memory_that_two_boards_come_near_to_means_the_nearer() -> None:
    assert find_gpu("H100", SPECS, memory_gib=95.6).gpu_id == "nvidia-h100-sxm5-96gb"
    with pytest.raises(UnknownGpuError, match=r"several boards are called 'Orin': [^;]*8GB[^;]*; [^;]*8GB[^;]*\. Name"):
        find_gpu("Orin", SPECS, memory_gib=7.4)
