"""The command line: `robust-tickets COMMAND ...` finds the command, parses its flags and runs it.

torch is imported by the commands that need it, so that help and mistakes answer at once.
"""

import sys
from collections.abc import Sequence
from typing import NoReturn

from robust_tickets.base import signals
from robust_tickets.base.device_errors import device_message
from robust_tickets.base.errors import InputError
from robust_tickets.base.followers import follow_torchrun, lead_torchrun, torchrun_rank
from robust_tickets.base.idle_threads import bound_spinning
from robust_tickets.base.streams import complain, prepare_streams
from robust_tickets.base.version import __version__
from robust_tickets.cli.help import command_help, overview
from robust_tickets.cli.parse import parse, recipe_defaults
from robust_tickets.cli.registry import command_class, is_family, split_name

_HELP = ("-h", "--help")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command; exits with 2 and one message for wrong input."""
    prepare_streams()
    bound_spinning()
    words = list(sys.argv[1:] if arguments is None else arguments)
    rank = torchrun_rank()
    if rank == 0:
        lead_torchrun(words)
    elif rank is not None:
        follow_torchrun(words)
    if words[:1] == ["help"]:
        words = [*words[1:], "--help"]
    try:
        if not words or words[0] in _HELP:
            print(overview())
        elif words[0] == "--version":
            print(f"robust-tickets {__version__}")
        elif is_family(words[0]) and set(words[1:]) <= set(_HELP):
            print(overview(words[0]))
        else:
            name, flags = split_name(words)
            if set(_HELP) & set(flags):
                print(_help(name, flags))
                return
            with signals.exit_on_interrupt(), signals.handle_signals():
                with signals.deferred():  # it imports, and an import that a signal breaks off fails oddly
                    command = parse(name, flags)
                command.run()
    except InputError as error:
        _fail(device_message(error) or str(error))
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(141)
    except OSError as error:
        _fail(f"{error.filename or 'a file'} cannot be used: {error.strerror or error}")
    except (RuntimeError, MemoryError) as error:
        message = device_message(error)
        if message is None:
            raise
        _fail(message)


def _help(name: str, words: list[str]) -> str:
    """The help asked for by `--help [SECTION]`, with a recipe's values where one is named."""
    place = next(i for i, word in enumerate(words) if word in _HELP)
    following = words[place + 1 : place + 2]
    section = following[0] if following and not following[0].startswith("-") else ""
    return command_help(name, section, recipe_defaults(command_class(name), words))


def _fail(message: str) -> NoReturn:
    complain(f"robust-tickets: {message}")
    sys.exit(2)
