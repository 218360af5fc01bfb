"""`python -m robust_tickets`."""

from robust_tickets.cli import main

if __name__ == "__main__":
    main()
