"""The command `cache clear`."""

from robust_tickets.cli.command import Command, command


@command
class CacheClear(Command):
    """Remove the decoded images from the cache; they are decoded again when they are needed."""

    def run(self) -> None:
        """Print what was removed."""
        from robust_tickets.data import cache

        print(cache.clear())
