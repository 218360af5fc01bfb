"""The program: `robust-tickets`, or `python -m robust_tickets`."""

from robust_tickets import stops


def main() -> None:
    """Heed signals from here on, also while the rest is imported, and run the command line."""
    with stops.answered(), stops.heeded():
        with stops.waiting():
            from robust_tickets import cli
        cli.main()


if __name__ == "__main__":
    main()
