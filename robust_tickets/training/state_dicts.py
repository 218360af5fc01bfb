"""Finds the state dicts of a known network in the content of a file that others wrote."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from robust_tickets.models.weights import StateDict, mismatches

_DEEPEST = 4  # dictionaries around a state dict, and parts of a prefix
_AVERAGED = {"ema", "swa", "averaged", "average", "avg", "polyak", "shadow", "moving", "lawa"}
_NO_WEIGHTS = {"optim", "optimizer", "optimiser", "opt", "scheduler", "sched", "scaler", "momentum", "grads"}
_WRAPPERS = {
    "module",  # DataParallel, AveragedModel
    "_orig_mod",  # torch.compile
    "_fsdp_wrapped_module",
    "_checkpoint_wrapped_module",
    "_forward_module",
    "_module",
}
_UNUSED = re.compile(
    r"^sub_block1\.|"  # in TRADES's WideResNets, where no forward pass reaches it
    r"(^|\.)(n_averaged|initted|step|decay|num_updates)$|"  # of averaged networks
    r"(^|\.)(total_ops|total_params)$|"  # of thop, which counts FLOPs
    r"^(\w+[._])?(criterion|loss|loss_fn|metrics?|accuracy|acc)\."
)
_NORMALISATION = re.compile(r"(?<!running)(^|[._])(mean|std|mu|sigma)$")


@dataclass(frozen=True)
class Candidate:
    """A state dict within a file, in one reading of its names.

    key: where it is, as "ema_state_dict" or "state_dict/ema_model"; "top" for the whole file.
    averaged: whether its names say that it is an average of weights over training.
    state: its tensors by the network's names.
    mistakes: why it does not fit the network.
    lacks: of an average, the network's names that have no tensor, where all else fits.
    normalisation: tensors of a normalisation that is no part of the network.
    outside: other names beside those of the network.
    """

    key: str
    averaged: bool
    state: StateDict
    mistakes: list[str]
    lacks: list[str] = field(default_factory=list)
    normalisation: StateDict = field(default_factory=dict)
    outside: list[str] = field(default_factory=list)

    def equals(self, other: "Candidate") -> bool:
        """Whether both are the same weights, bit for bit."""
        return self.state.keys() == other.state.keys() and all(
            torch.equal(value, other.state[name]) for name, value in self.state.items()
        )


def find_candidates(content: Any, expected: StateDict, optional: set[str]) -> list[Candidate]:
    """The state dicts in the content of a file; of one that does not fit, the reading that fits best.

    expected: the network's state dict.
    optional: names of it that a file need not have.

    Names are read as they are if they fit. Else prefixes are removed, on both sides, whatever they are, since
    all names and shapes must fit afterwards; then wrappers within names, as `layer1._orig_mod.conv.weight`.
    """
    result = []
    for path, state in _state_dicts(content, ()):
        merged = _apply_masks(state)
        for tensors in (state, merged) if merged.keys() != state.keys() else (state,):
            readings = _readings(path, tensors, expected, optional)
            if not all(reading.mistakes for reading in readings):
                break
        result += readings
    return result


def _state_dicts(content: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], StateDict]]:
    """All dictionaries with tensors, each with the keys that lead to it; in a list its places are keys."""
    if isinstance(content, list | tuple) and any(isinstance(value, Mapping) for value in content):
        content = dict(enumerate(content))
    if not isinstance(content, Mapping) or len(path) > _DEEPEST:
        return
    state = {str(name): value for name, value in content.items() if isinstance(value, Tensor)}
    if state:
        yield path, state
    for key, value in content.items():
        if leads_to_weights(str(key)):
            yield from _state_dicts(value, (*path, str(key)))


def leads_to_weights(key: str) -> bool:
    """Whether a key may lead to weights: not to the state of an optimiser."""
    return not _NO_WEIGHTS & _words(key)


def names_average(key: str) -> bool:
    """Whether a key says that it leads to averages of weights over training."""
    return bool(_AVERAGED & _words(key))


def _apply_masks(state: StateDict) -> StateDict:
    """The state dict with `weight_orig` times `weight_mask`, of torch.nn.utils.prune, as `weight`."""
    result = {}
    for name, value in state.items():
        base = name.removesuffix("_orig").removesuffix("_mask")
        original, mask = state.get(f"{base}_orig"), state.get(f"{base}_mask")
        if base == name or original is None or mask is None or original.shape != mask.shape:
            result[name] = value
        elif base not in result:
            # adding 0.0 makes -0.0 the 0.0 of a pruned weight
            result[base] = original * mask + 0.0
    return result


def _readings(
    path: tuple[str, ...], state: StateDict, expected: StateDict, optional: set[str]
) -> list[Candidate]:
    """The readings of a state dict that fit the network; if none does, the one that fits best."""
    others: list[Candidate] = []
    for wrapped in (True, False):
        names = {name if wrapped else _without_wrappers(name): name for name in state}
        targets = {name if wrapped else _without_wrappers(name): name for name in expected}
        if len(names) < len(state) or len(targets) < len(expected):
            continue
        required = [name for name, target in targets.items() if target not in optional]
        for start in _common_prefixes(required):
            readings: dict[str, Candidate] = {}
            for prefix in _prefixes(names, len(required)):
                tensors = {
                    targets.get(start + name.removeprefix(prefix), name): state[original]
                    for name, original in names.items()
                    if _is_part(name, prefix, targets)
                }
                averaged = _is_averaged(path, prefix, state)
                readings[prefix] = read_candidate(path, averaged, tensors, expected, optional, prefix)
            fitting = {p: reading for p, reading in readings.items() if not reading.mistakes}
            if fitting:
                fitting |= {p: reading for p, reading in readings.items() if reading.lacks}
                outside = {
                    original: state[original]
                    for name, original in names.items()
                    if not any(_is_part(name, prefix, targets) for prefix in fitting)
                }
                return [_with_outside(reading, outside) for reading in fitting.values()]
            others += readings.values()
    return sorted(others, key=lambda reading: len(reading.mistakes))[:1]


def _is_part(name: str, prefix: str, targets: Mapping[str, str]) -> bool:
    """Whether a name belongs to the reading with this prefix; averages have one of their own."""
    if not prefix:
        return name in targets or not is_averaged(name)
    return name.startswith(prefix)


def is_averaged(name: str) -> bool:
    """Whether the first part of a name, as `model_ema.fc.weight`, says that it is an average's."""
    first, dot, _ = name.partition(".")
    return bool(dot) and bool(_AVERAGED & _words(first))


def read_candidate(
    path: tuple[str, ...],
    averaged: bool,
    state: StateDict,
    expected: StateDict,
    optional: set[str],
    prefix: str = "",
) -> Candidate:
    """One reading of a state dict, held against the network.

    path: the keys that lead to it; prefix: of its names, which is removed already.
    averaged: whether it is an average; state: by the network's names.
    expected, optional: as of `find_candidates`.
    """
    outside = {name: state[name] for name in state if name not in expected}
    ignored = {name for name in outside if _UNUSED.search(name) or _NORMALISATION.search(name)}
    state = {name: value for name, value in state.items() if name not in ignored}
    needed = {name: value for name, value in expected.items() if name in state or name not in optional}
    mistakes = mismatches(state, needed)
    lacks = [name for name in needed if name not in state]
    candidate = Candidate(
        key="/".join([*path, prefix.rstrip(".")] if prefix else path) or "top",
        averaged=averaged,
        state=state,
        mistakes=mistakes,
        lacks=lacks if averaged and len(lacks) == len(mistakes) else [],
    )
    return _with_outside(candidate, {name: outside[name] for name in ignored})


def _with_outside(candidate: Candidate, outside: StateDict) -> Candidate:
    """The candidate with names beside it that are no part of the network."""
    used = {name: value for name, value in outside.items() if not _UNUSED.search(name)}
    normalisation = {name: value for name, value in used.items() if _NORMALISATION.search(name)}
    return replace(
        candidate,
        normalisation=candidate.normalisation | normalisation,
        outside=[*candidate.outside, *(name for name in used if name not in normalisation)],
    )


def _is_averaged(path: tuple[str, ...], prefix: str, state: StateDict) -> bool:
    """Whether a state dict's keys and prefix say that its weights are averages over training."""
    parts = [part for part in prefix.split(".") if part]
    counters = {".".join([*parts[:depth], "n_averaged"]) for depth in range(len(parts) + 1)}
    return bool(counters & state.keys()) or any(map(names_average, (*path, *parts)))


def _prefixes(names: Mapping[str, str], least: int) -> list[str]:
    """Prefixes, the shortest first, that at least half as many names have as the network needs."""
    counts: Counter[str] = Counter()
    for name in names:
        parts = name.split(".")
        counts.update(".".join(parts[:depth]) + "." for depth in range(1, min(len(parts), _DEEPEST + 3)))
    return ["", *sorted((p for p, count in counts.items() if 2 * count >= least), key=lambda p: p.count("."))]


def _common_prefixes(names: list[str]) -> list[str]:
    """Prefixes that all names have, from none on."""
    prefixes = [""]
    parts = [name.split(".") for name in names]
    for column in zip(*(part[:-1] for part in parts), strict=False):
        if len(set(column)) > 1:
            break
        prefixes.append(f"{prefixes[-1]}{column[0]}.")
    return prefixes


def _without_wrappers(name: str) -> str:
    return ".".join(part for part in name.split(".") if part not in _WRAPPERS)


def _words(text: str) -> set[str]:
    """The words of a name, also of one like modelEma."""
    return {word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", text)}
