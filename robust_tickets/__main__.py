"""The program: `robust-tickets`, or `python -m robust_tickets`."""

import sys

try:
    from robust_tickets.base import signals
except KeyboardInterrupt:  # Ctrl-C so early that nothing handles signals yet
    print("robust-tickets: stopped by SIGINT; run the same command again", file=sys.stderr)
    sys.exit(130)


def main() -> None:
    """Heed signals from here on, also while the rest is imported, and run the command line."""
    with signals.exit_on_interrupt(), signals.handle_signals():
        with signals.deferred():
            from robust_tickets.cli import main as cli
        cli.main()


if __name__ == "__main__":
    main()
