"""Chooses among the state dicts of a file that fit a network: raw or averaged weights, or one by its key."""

from collections.abc import Callable
from dataclasses import replace

from robust_tickets.base.errors import InputError
from robust_tickets.models.weights import StateDict
from robust_tickets.training.state_dicts import Candidate

_USUAL_KEYS = ("top", "state_dict", "model_state_dict", "model", "net", "network", "model_state", "weights")


def choose_weights(
    candidates: list[Candidate], wish: str | None, buffers: set[str], flag: str, log: Callable[[str], None]
) -> Candidate | None:
    """The state dict to use; None where none fits.

    candidates: all state dicts of a file.
    wish: "raw", "averaged" or a key; None: raw weights, if there are any.
    buffers: the network's names that are no parameters; averages without them take those of the raw weights.
    flag: the command line's name of the wish, for messages.
    log: is told which weights are used, where there was a choice or they are averages.

    Raises InputError for a wish that the file cannot fulfil, and where several could be meant.
    """
    fitting = [candidate for candidate in candidates if not candidate.mistakes]
    raw = [candidate for candidate in fitting if not candidate.averaged]
    if raw:
        base = min(raw, key=_rank).state
        fitting += [
            _with_buffers(candidate, base, log)
            for candidate in candidates
            if candidate.lacks and set(candidate.lacks) <= buffers
        ]
    fitting = _different(fitting)
    if not fitting:
        return None
    raw, averaged = ([c for c in fitting if c.averaged == kind] for kind in (False, True))
    pool = raw or averaged
    if wish is not None:
        by_key = [c for c in fitting if wish == c.key] or [c for c in fitting if wish in c.key.split("/")]
        pool = {"raw": raw, "averaged": averaged}.get(wish, by_key)
    keys = ", ".join(f"{c.key} ({'averaged' if c.averaged else 'raw'})" for c in fitting)
    if not pool:
        raise InputError(f"the file has no weights {wish!r} that fit, but {keys}: choose by {flag}")
    chosen = min(pool, key=_rank)
    if sum(_rank(candidate) == _rank(chosen) for candidate in pool) > 1:
        raise InputError(f"the file has several weights that fit, {keys}: name one, as {flag} {chosen.key}")
    if wish is None and len(fitting) > 1:
        log(f"the file has several weights that fit, {keys}: {chosen.key} is used; others by {flag}")
    elif chosen.averaged:
        log(f"the weights are averages over training: {chosen.key}")
    return chosen


def _rank(candidate: Candidate) -> int:
    """The place of a key among the usual ones; all others come after these."""
    key = candidate.key.partition("/")[0]
    return _USUAL_KEYS.index(key) if key in _USUAL_KEYS else len(_USUAL_KEYS)


def _different(candidates: list[Candidate]) -> list[Candidate]:
    """The candidates without copies, bit for bit, of earlier ones; raw ones come first."""
    result: list[Candidate] = []
    for candidate in sorted(candidates, key=lambda c: (c.averaged, _rank(c))):
        if not any(candidate.equals(other) for other in result):
            result.append(candidate)
    return result


def _with_buffers(candidate: Candidate, state: StateDict, log: Callable[[str], None]) -> Candidate:
    """Averaged weights with the statistics of the raw ones, which the averages do not have."""
    log(f"{candidate.key} has no buffers, such as {candidate.lacks[0]}: those of the raw weights are used")
    return replace(
        candidate, state={**{n: state[n] for n in candidate.lacks}, **candidate.state}, mistakes=[]
    )
