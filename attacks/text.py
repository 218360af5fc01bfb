"""Attacks as text on a command line: `pgd-20`, `apgd(loss='dlr')`, `torchattacks:CW(c=1)`."""

import ast
import inspect
import math
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from .adapter import TorchAttack, fab_t
from .apgd import APGD, APGDTargeted
from .attack import Attack
from .ensemble import apgd_pair, autoattack
from .errors import InputError, did_you_mean
from .fgsm import FGSM
from .pgd import PGD
from .square import Square
from .threat import ThreatModel, check_threat

BUILDERS: dict[str, Callable[..., Attack]] = {
    "fgsm": FGSM,
    "pgd": PGD,
    "apgd": APGD,
    "apgd-t": APGDTargeted,
    "square": Square,
    "fab-t": fab_t,
    "aa-apgd": apgd_pair,
    "autoattack": autoattack,
}
"""The builder of the attack of each name: it takes the threat model, and the arguments as keywords."""

THIRD_PARTY = "torchattacks:"
"""The prefix of the name of a class of torchattacks."""

Value = int | float | str | bool | None | tuple["Value", ...]

_EXAMPLES = "write an attack like pgd-20, apgd(loss='dlr') or torchattacks:CW(c=1, steps=50)"
_LONGEST = 1000  # characters; long texts can crash the parser of Python
_LARGEST = 2**63 - 1


class UnknownAttackError(InputError):
    """There is no attack of that name."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(message)
        self.name = name


def parse(text: str, threat: ThreatModel, *, rel_step: float = 0.25) -> Attack:
    """The attack that a text names, in the ball of `threat`.

    text: a name of `BUILDERS` or `torchattacks:` and a class of torchattacks, then, if need be, arguments in
        brackets: `square(queries=1000)`. Arguments go by name; their values are numbers, fractions of two
        numbers (`2/255`), strings, True, False, None and tuples of those. Nothing is evaluated. `pgd-20` is
        `pgd(steps=20)`.
    threat: the ball and the box of valid pixels.
    rel_step: the step size of pgd as a share of eps, where the text gives none.

    Raises InputError for anything else, for unknown names and arguments, and for values that the attack
    refuses.
    """
    if not isinstance(text, str):
        raise InputError(f"an attack is named by text, as 'pgd-20', got {text!r}")
    check_threat(threat)
    call = _read(text)
    arguments = dict(call.arguments)
    if call.name.startswith(THIRD_PARTY):
        build: Callable[..., Attack] = partial(TorchAttack, name=call.name.removeprefix(THIRD_PARTY))
        clash = {"threat", "name"} & arguments.keys()  # arguments of TorchAttack, which no class there has
        if clash:
            raise InputError(f"attack {_quote(text)}: torchattacks' attacks take no {' or '.join(clash)}")
    else:
        build = _builder(call)
        _check_arguments(call, build, text)
        if call.steps is not None:
            arguments["steps"] = call.steps
        if build is PGD and "steps" not in arguments:
            hint = "" if not arguments else ", and in brackets: pgd(steps=20, loss='margin')"
            raise InputError(f"attack {_quote(text)} has no number of steps: write pgd-20 for 20 steps{hint}")
        if build is PGD and arguments.get("step_size") is None and arguments.get("rel_step") is None:
            arguments["rel_step"] = rel_step
    try:
        return build(threat, **arguments)
    except (ValueError, OverflowError) as error:
        raise InputError(f"attack {_quote(text)}: {error}") from None


def canonical(text: str) -> str:
    """The one spelling of a text, a name for tables: arguments in the attack's order, spaces after commas.

    `parse` gives the same attack for both. Raises InputError where the text is no name with arguments.
    """
    call = _read(text)
    name = call.name if call.steps is None else f"{call.name}-{call.steps}"
    order = list(inspect.signature(BUILDERS[call.name]).parameters) if call.name in BUILDERS else []
    places = {argument: place for place, argument in enumerate(order)}
    arguments = sorted(call.spelling, key=lambda part: places.get(part.partition("=")[0], len(order)))
    return f"{name}({', '.join(arguments)})" if arguments else name


@dataclass(frozen=True)
class _Call:
    """A text in parts: `steps` is the number in pgd-20, `spelling` each argument in its one spelling."""

    name: str
    steps: int | None
    arguments: dict[str, Value]
    spelling: list[str]


def _read(text: str) -> _Call:
    match = re.fullmatch(r"\s*([^()\s]+)\s*(?:\((.*)\))?\s*", text) if len(text) <= _LONGEST else None
    if match is None:
        raise _unreadable(text, "is no name with arguments in brackets")
    name, inside = match.groups()
    arguments: dict[str, Value] = {}
    spelling = []
    for keyword in _keywords(text, inside or ""):
        argument = keyword.arg
        if argument is None:
            raise _unreadable(text, "has ** in it: each argument goes by name")
        if argument in arguments:
            raise _unreadable(text, f"gives {argument} twice")
        arguments[argument], value = _literal(text, keyword.value)
        spelling.append(f"{argument}={value}")
    kind, hyphen, number = name.partition("-")
    if kind == "pgd" and hyphen:
        if not re.fullmatch(r"[0-9]{1,18}", number) or int(number) < 1:
            raise InputError(f"attack {_quote(name)} has no number of steps: write pgd-20 for 20 steps")
        if "steps" in arguments:
            raise _unreadable(text, "gives steps twice")
        return _Call(kind, int(number), arguments, spelling)
    return _Call(name, None, arguments, spelling)


def _keywords(text: str, inside: str) -> list[ast.keyword]:
    """The arguments of a call, parsed and not evaluated."""
    source = f"f({inside})"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about odd escapes in strings
            call = ast.parse(source, mode="eval").body
        whole = call.end_col_offset == len(source.encode())  # no comment behind a bracket of the text's own
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise _unreadable(text, "has arguments that cannot be read") from None
    if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name) or not whole:
        raise _unreadable(text, "has more behind its arguments")
    if call.args:
        raise _unreadable(text, "has an argument without a name: arguments go by name, as in pgd(steps=20)")
    return call.keywords


def _literal(text: str, node: ast.expr) -> tuple[Value, str]:
    """The value of a node that is a literal, and its one spelling."""
    if isinstance(node, ast.Tuple):
        parts = [_literal(text, part) for part in node.elts]
        inside = ", ".join(spelling for _, spelling in parts)
        return tuple(value for value, _ in parts), f"({inside},)" if len(parts) == 1 else f"({inside})"
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
        above, below = _number(text, node.left), _number(text, node.right)
        if below == 0:
            raise _unreadable(text, f"divides {above!r} by zero")
        value = above / below
        if not math.isfinite(value):
            raise _unreadable(text, "has a number that is too large")
        return value, f"{above!r}/{below!r}"
    if isinstance(node, ast.Constant) and isinstance(node.value, str | bool | None):
        return node.value, repr(node.value)
    number = _number(text, node)
    return number, repr(number)


def _number(text: str, node: ast.expr) -> int | float:
    sign = 1
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
        sign = -1 if isinstance(node.op, ast.USub) else 1
        node = node.operand
    if not isinstance(node, ast.Constant) or type(node.value) not in (int, float):
        raise _unreadable(
            text,
            "has a value that is none of: a number, a fraction of two numbers as 2/255, a string in quotes, "
            "True, False, None, a tuple of those",
        )
    value = node.value
    assert isinstance(value, int | float)
    if abs(value) > (_LARGEST if isinstance(value, int) else 1e300):
        raise _unreadable(text, "has a number that is too large")
    return sign * value


def _builder(call: _Call) -> Callable[..., Attack]:
    if call.name not in BUILDERS:
        names = ", ".join(["pgd-20", *(name for name in BUILDERS if name != "pgd"), f"{THIRD_PARTY}CW"])
        lower = call.name.lower()
        only_case = lower in BUILDERS or re.fullmatch(r"pgd-[0-9]{1,18}", lower)
        hint = did_you_mean(call.name.rstrip("0123456789").rstrip("-"), BUILDERS)
        hint = f": did you mean {lower!r}?" if only_case else hint
        raise UnknownAttackError(call.name, f"unknown attack {_quote(call.name)}{hint} known: {names}")
    return BUILDERS[call.name]


def _check_arguments(call: _Call, build: Callable[..., Attack], text: str) -> None:
    """Raise InputError unless the attack takes these arguments; it checks their values itself."""
    parameters = list(inspect.signature(build).parameters)[1:]  # the first is the threat
    for argument in call.arguments:
        if argument not in parameters:
            hint = did_you_mean(argument, parameters)
            unknown = f"has no argument {argument!r}{hint} its arguments: {', '.join(parameters)}"
            fault = unknown if parameters else f"takes no arguments, got {argument}"
            raise InputError(f"attack {_quote(text)}: {call.name} {fault}")


def _unreadable(text: str, fault: str) -> InputError:
    return InputError(f"attack {_quote(text)} {fault}; {_EXAMPLES}")


def _quote(text: str) -> str:
    """The text in quotes, its beginning where it is long."""
    return repr(text) if len(text) <= 80 else f"{text[:80]!r}..."
