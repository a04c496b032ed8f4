"""Finding the GPU that a name means: full names first, then unambiguous short names, then slices of a board.

One function for names from NVML, price sheets, the command line and ``compare``. A name that fits several boards is
resolved by memory or by what a price sheet sells, or else refused with a list of candidates: a name never resolves to
another GPU.
"""

from __future__ import annotations

import dataclasses
import difflib
import re
from collections.abc import Iterable, Mapping
from functools import lru_cache

from greenlove_mlflow.core.provenance import Caveat
from greenlove_mlflow.core.speed.gpus import GpuSpec
from greenlove_mlflow.errors import UnknownGpuError

# Drivers report slightly less memory than the name states (79.2 GiB of 80, 30 of a Jetson's 32).
MEMORY_TOLERANCE = 0.12
# A MIG device has a number of its board's compute slices: seven, or four on these boards.
MIG_COMPUTE_SLICES = 7
MIG_FOUR_SLICES = frozenset(
    {
        "nvidia-a30",
        "nvidia-rtx-pro-6000-blackwell-server-edition",
        "nvidia-rtx-pro-6000-blackwell-workstation-edition",
        "nvidia-rtx-pro-6000-blackwell-max-q-workstation-edition",
    }
)
# Leading words that users leave out; none of them distinguishes two boards (Quadro would).
_MAKERS = frozenset({"nvidia", "amd", "intel", "apple", "geforce", "tesla", "radeon", "instinct", "grid"})
# Words for the form factor or memory type, which a short name leaves out.
_FORMS = re.compile(r"pcie|sxm\d?|nvl|oam|hgx|hbm\d?e?|gddr\d?x?|active|graphics|gpu|generation")
_MEMORY = re.compile(r"\b(\d+) ?gi?b\b")
_LETTERS_AND_NUMBER = re.compile(r"(?P<letters>[a-z]*)(?P<number>\d+)")
# A board as lspci shows it ("GA100 [A100 SXM4 40GB] (rev a1)"), and a series written without a space ("RTX4090").
_PCI = re.compile(r"\[([^\[\]/]+)\](?: \(rev \w+\))?$")
_RTX_A = re.compile(r"a\d{3,4}")  # "A6000": the series is left out
_JOINED = re.compile(r"\b(rtx|gtx|rx)(?=a?\d)")
# Suffixes added by clouds: an allocation class of AWS, a virtual function of Azure.
_CLOUD_SUFFIX = re.compile(r" (?:ls|vf)$")
_MIG = re.compile(r"(?P<board>.+?) mig (?P<slices>\d)g\.(?P<memory>\d+)gb(?:\+\S+)?")
# A vGPU has the name of its board, often a short one of NVIDIA's own ("A100D"), then memory; backed by MIG, slices too.
_VGPU = re.compile(r"(?P<board>.+?)(?: (?P<slices>[1-7]))? (?P<memory>\d+)[abcq]")


def find_gpu(
    name: str,
    specs: Iterable[GpuSpec],
    *,
    memory_gib: float | None = None,
    offer_names: Mapping[str, str] | None = None,
    offers_settle: bool = True,
) -> GpuSpec:
    """The GPU that a name means.

    Args:
        name: A name by NVML or torch, from the specs table or a price sheet, a key of the specs table, or a common
            short name (``A100-80GB``); case, spaces, hyphens, trademark signs and a leading maker's name are ignored.
        specs: The known GPUs.
        memory_gib: Memory of the board, GiB; resolves names that several boards share.
        offer_names: Additional names by the specs table's key, such as those of a price sheet.
        offers_settle: Whether a name that fits several boards means the one among those offers.

    Raises:
        UnknownGpuError: If the name is in no table, or several boards share it and nothing distinguishes them.
    """
    known, offers = tuple(specs), offer_names or {}
    found = _candidates(name, known, offers)
    if not found:
        raise UnknownGpuError(_unknown_message(name, known, offers))
    settled = _settle(name, found, memory_gib, offers if offers_settle else {})
    if settled is None:
        fitting = [spec for spec in found if _memory_agrees(spec, memory_gib)]
        boards = "; ".join(f"{spec.name} ({_memory_text(spec)}{_sold_as(spec, offers)})" for spec in fitting or found)
        memory = "" if memory_gib is None or fitting else f" and none has {memory_gib:.1f} GiB"
        raise UnknownGpuError(f"several boards are called {name!r}{memory}: {boards}. Name one of them as written here")
    return settled


def match_gpu(
    name: str,
    specs: Iterable[GpuSpec],
    *,
    memory_gib: float | None = None,
    offer_names: Mapping[str, str] | None = None,
) -> GpuSpec | None:
    """The GPU that a name means, like ``find_gpu``; None when it is unknown or ambiguous."""
    offers = offer_names or {}
    found = _candidates(name, tuple(specs), offers)
    return _settle(name, found, memory_gib, offers) if found else None


def boards_called(name: str, specs: Iterable[GpuSpec]) -> tuple[GpuSpec, ...]:
    """Every board that a name may mean, before memory or a price sheet settles it."""
    return _candidates(name, tuple(specs), {})


def name_caveats(spec: GpuSpec, specs: Iterable[GpuSpec]) -> tuple[Caveat, ...]:
    """The caveats of how a GPU was found: indistinguishable variants, a slice of a board."""
    found = ambiguity_caveat(spec, specs)
    sliced = (Caveat.of("gpu-slice", gpu=spec.name),) if spec.form_factor == "slice" else ()
    return (*sliced, *([] if found is None else [found]))


def ambiguity_caveat(spec: GpuSpec, specs: Iterable[GpuSpec]) -> Caveat | None:
    """The caveat that boards of the same name and memory cannot be distinguished; None when the name is unique."""
    keys = {_plain(alias) for alias in spec.aliases}
    twins = [
        other.name
        for other in specs
        if other.gpu_id != spec.gpu_id
        and keys & {_plain(alias) for alias in other.aliases}
        and _memory_agrees(other, spec.memory_gib)
    ]
    if not twins:
        return None
    return Caveat.of("ambiguous-gpu", gpu=spec.name, twins=", ".join(twins))


def nearest_names(name: str, names: Iterable[str], count: int = 4) -> tuple[str, ...]:
    """The names most similar to ``name``, best first: suggestions for the user, never a match.

    The model number distinguishes boards: a name with other digits, or of another letter, is not near, however similar
    the rest. Where no board has the number, those of its hundred are near (an MI300X to an MI308X), else those whose
    number begins so (an H100 to an H10).
    """
    by_plain = {_plain(each): each for each in names}
    plain = _plain(name)
    model = _parts(plain)[0].split() or plain.split()
    holding = sorted((each for each in by_plain if model and set(model) <= set(each.split())), key=len)
    like = difflib.get_close_matches(plain, by_plain, n=8 * count, cutoff=0.5)
    numbered = [word for word in model if re.search(r"\d", word)]
    alike = [each for each in like if (_shares_a_number(numbered, each) if numbered else not holding)]
    series = [each for each in by_plain if any(_of_one_series(word, each) for word in numbered)]
    begun = tuple(word for word in numbered if len(word) > 2 and word[0].isalpha())
    longer = [each for each in by_plain if any(own.startswith(begun) for own in each.split())]
    near = dict.fromkeys([*holding, *alike] or sorted(series, key=len) or sorted(longer, key=len))
    return tuple(by_plain[each] for each in near)[:count]


def _shares_a_number(words: list[str], name: str) -> bool:
    """Whether a word of the name has the number of one of the words, and no other letter before it."""
    own = [_LETTERS_AND_NUMBER.match(word) for word in name.split()]
    asked = [_LETTERS_AND_NUMBER.match(word) for word in words]
    return any(
        left["number"] == right["number"] and left["letters"] == right["letters"]
        for left in asked
        if left
        for right in own
        if right
    )


def _of_one_series(word: str, name: str) -> bool:
    """Whether a word of the name has the letters of that word and a number of the same hundred."""
    asked = _LETTERS_AND_NUMBER.match(word)
    if not asked or not asked["letters"] or len(asked["number"]) < 3:
        return False
    series = re.compile(re.escape(asked["letters"] + asked["number"][:-2]) + r"\d\d(?!\d)")
    return any(series.match(each) for each in name.split())


def _candidates(name: str, specs: tuple[GpuSpec, ...], offer_names: Mapping[str, str]) -> tuple[GpuSpec, ...]:
    plain = _plain(name)
    if not plain:
        return ()
    for each in dict.fromkeys((plain, _CLOUD_SUFFIX.sub("", plain))):
        found = tuple(spec for spec in specs if each in _plain_names(spec))
        if found:
            return found
    keys = {gpu_id for each, gpu_id in offer_names.items() if _plain(each) == plain}
    found = tuple(spec for spec in specs if spec.gpu_id in keys)
    return found or _by_short_name(plain, specs) or _sliced(plain, specs)


def _by_short_name(plain: str, specs: tuple[GpuSpec, ...]) -> tuple[GpuSpec, ...]:
    """The boards of a short name's model, with the form factor and memory that it states, if any."""
    model, forms, memory = _parts(plain)
    # A model has a letter and a number: "RTX" or "4090" alone is not a model.
    if not (re.search(r"\d", model) and re.search(r"[a-z]", model)):
        return ()
    found = []
    for spec in specs:
        for each in _plain_names(spec):
            own_model, own_forms, own_memory = _parts(each)
            fits = memory is None or memory == own_memory or (own_memory is None and _memory_agrees(spec, memory))
            same = own_model == model or (_RTX_A.fullmatch(model) and own_model == f"rtx {model}")
            if same and fits and all(any(own.startswith(form) for own in own_forms) for form in forms):
                found.append(spec)
                break
    return tuple(found)


def _parts(plain: str) -> tuple[str, tuple[str, ...], float | None]:
    """Model, form factor words and memory in GB of a plain name."""
    memory: float | None = None
    stated = _MEMORY.search(plain)
    if stated:
        memory = float(stated.group(1))
        plain = plain.replace(stated.group(0), " ")
    words = plain.split()
    forms = tuple(word for word in words if _FORMS.fullmatch(word))
    return " ".join(word for word in words if not _FORMS.fullmatch(word)), forms, memory


def _sliced(plain: str, specs: tuple[GpuSpec, ...]) -> tuple[GpuSpec, ...]:
    """A MIG device or vGPU profile of a known board, as a board of its own."""
    stated = _MIG.fullmatch(plain) or _VGPU.fullmatch(plain)
    if stated is None:
        return ()
    memory, slices = float(stated["memory"]), stated["slices"]
    parents = _boards_sliced(stated["board"], specs)
    return tuple(
        _slice_of(spec, memory, None if slices is None else int(slices) / _slice_count(spec))
        for spec in parents
        if (spec.memory_gib or 0.0) >= memory
    )


def _boards_sliced(board: str, specs: tuple[GpuSpec, ...]) -> tuple[GpuSpec, ...]:
    """The boards that the first words of a slice's name mean: by a vGPU among their names, else by their own."""
    whole = re.compile(re.escape(board) + r" \d+[abcq]")
    return (
        tuple(spec for spec in specs if any(whole.fullmatch(name) for name in _plain_names(spec)))
        or tuple(spec for spec in specs if board in _plain_names(spec))
        or _by_short_name(board, specs)
    )


def _slice_count(board: GpuSpec) -> int:
    """Compute slices of a board.

    Source: NVIDIA, Multi-Instance GPU User Guide, supported profiles.
    """
    return 4 if board.gpu_id in MIG_FOUR_SLICES else MIG_COMPUTE_SLICES


def _slice_of(board: GpuSpec, memory_gib: float, share: float | None) -> GpuSpec:
    """A part of a board: a MIG device has a share of everything, a vGPU its memory and time slices of the rest.

    Source: NVIDIA, Multi-Instance GPU User Guide; NVIDIA, Virtual GPU Software User Guide (time-sliced vGPUs).
    """
    part = 1.0 if share is None else share
    bandwidth = 1.0 if share is None else memory_gib / (board.memory_gib or memory_gib)

    def of(rate: float | None, by: float) -> float | None:
        return None if rate is None else rate * by

    kind = f"vGPU of {memory_gib:g} GB" if share is None else f"MIG of {memory_gib:g} GB, {share:.0%} of its units"
    return dataclasses.replace(
        board,
        gpu_id=f"{board.gpu_id}-{'vgpu' if share is None else 'mig'}-{memory_gib:g}gb",
        name=f"{board.name} ({kind})",
        aliases=(),
        form_factor="slice",
        memory_gib=memory_gib,
        memory_bandwidth_gb_per_s=of(board.memory_bandwidth_gb_per_s, bandwidth),
        fp32_tflops=of(board.fp32_tflops, part),
        tf32_tflops=of(board.tf32_tflops, part),
        fp16_tflops=of(board.fp16_tflops, part),
        bf16_tflops=of(board.bf16_tflops, part),
        fp16_nontensor_tflops=of(board.fp16_nontensor_tflops, part),
        tdp_w=of(board.tdp_w, part),
        idle_w=of(board.idle_w, part),
    )


def _settle(
    name: str, found: tuple[GpuSpec, ...], memory_gib: float | None, offer_names: Mapping[str, str]
) -> GpuSpec | None:
    """The board meant among those that share a name; None when nothing distinguishes them."""
    if len(found) == 1:
        return found[0]
    if memory_gib is not None:
        found = _nearest_memory(tuple(spec for spec in found if _memory_agrees(spec, memory_gib)), memory_gib)
    named = [spec for spec in found if _plain(name) in {_plain(spec.name), _plain(spec.gpu_id)}]
    if named:
        return named[0]
    sold = [spec for spec in found if spec.gpu_id in set(offer_names.values())]
    if len(sold) == 1:
        return sold[0]
    return found[0] if len(found) == 1 else None


def _nearest_memory(found: tuple[GpuSpec, ...], memory_gib: float) -> tuple[GpuSpec, ...]:
    """Those of the memory nearest to that reported, within a GiB: an H100 of 93.1 GiB has 94, not 96."""
    gaps = [abs((spec.memory_gib or 0.0) - memory_gib) for spec in found]
    return tuple(spec for spec, gap in zip(found, gaps, strict=True) if gap <= min(gaps) + 1.0)


def _memory_agrees(spec: GpuSpec, memory_gib: float | None) -> bool:
    if spec.memory_gib is None or memory_gib is None:
        return False
    return abs(spec.memory_gib - memory_gib) <= MEMORY_TOLERANCE * spec.memory_gib


@lru_cache(maxsize=1024)
def _plain_names(spec: GpuSpec) -> frozenset[str]:
    return frozenset(_plain(name) for name in (*spec.aliases, spec.name, spec.gpu_id))


@lru_cache(maxsize=8192)
def _plain(name: str) -> str:
    """A normalised name: without case, signs, spacing and a leading maker's name."""
    text = re.sub(r"\((r|tm|c)\)|[®™©]", " ", name.casefold())
    by_pci = _PCI.search(text)
    text = _JOINED.sub(r"\1 ", by_pci.group(1) if by_pci else text)
    words = re.sub(r"[\s_\-]+", " ", text).split()
    while len(words) > 1 and words[0] in _MAKERS:
        words = words[1:]
    return " ".join(words)


def _memory_text(spec: GpuSpec) -> str:
    return "memory unknown" if spec.memory_gib is None else f"{spec.memory_gib:g} GiB"


def _sold_as(spec: GpuSpec, offer_names: Mapping[str, str]) -> str:
    names = [name for name, gpu_id in offer_names.items() if gpu_id == spec.gpu_id]
    return f", sold as {names[0]}" if names else ""


def _unknown_message(name: str, specs: tuple[GpuSpec, ...], offer_names: Mapping[str, str]) -> str:
    near = nearest_names(name, [*(spec.name for spec in specs), *offer_names])
    question = f"did you mean {' or '.join(near)}?" if near else "no known name is like it."
    return (
        f"no table knows the GPU {name!r}; {question} `greenlove tables show gpu_specs` lists those known, "
        "`greenlove tables add FILE --table gpu_specs` adds one"
    )
