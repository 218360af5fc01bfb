"""A process that computes its share of what the leader of its group calls: one of `--devices N`."""

import signal
import sys
from typing import Any, NoReturn

from robust_tickets.base.followers import tcp_store
from robust_tickets.base.idle_threads import bound_spinning
from robust_tickets.base.machine import Machine
from robust_tickets.base.process_group import LostPeerError, join, leave
from robust_tickets.base.progress import SilentProgress


def follow(store: Any, rank: int, size: int, device: str) -> NoReturn:
    """Join a group, do what its leader calls, and end with it; arguments as `join` has them."""
    bound_spinning()
    for number in (signal.SIGINT, signal.SIGTERM):  # the leader heeds them, and ends this process
        signal.signal(number, signal.SIG_IGN)
    Machine(device, SilentProgress()).prepare(threads=1)  # as each call has them
    if store is not None:
        store.set(f"ready-{rank}", "")
    try:
        join(store, rank, size, device).follow()
    except LostPeerError:
        leave()
        sys.exit(1)  # the leader is gone, or tells of another process that is
    sys.exit(0)


def main() -> NoReturn:
    """Join the group that the command line names: port, rank, size and device."""
    port, rank, size, device = sys.argv[1:]
    store = tcp_store(int(port), is_leader=False)
    follow(store, int(rank), int(size), device)


if __name__ == "__main__":
    main()
