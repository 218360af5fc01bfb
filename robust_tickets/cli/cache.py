"""The command `cache clear`."""

from robust_tickets.cli.command import Command, command


@command
class CacheClear(Command):
    """Empty the cache of decoded images and of files from addresses; both are made again when needed."""

    def run(self) -> None:
        """Print what was removed."""
        from robust_tickets.data import cache

        print(cache.clear())
