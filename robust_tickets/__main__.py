"""The program: `robust-tickets`, or `python -m robust_tickets`."""

from robust_tickets.base import signals


def main() -> None:
    """Heed signals from here on, also while the rest is imported, and run the command line."""
    with signals.exit_on_interrupt(), signals.handle_signals():
        with signals.deferred():
            from robust_tickets.cli import main as cli
        cli.main()


if __name__ == "__main__":
    main()
