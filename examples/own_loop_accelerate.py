"""A ticket under Hugging Face's accelerate, with accumulated gradients.

After `pip install accelerate`: `python examples/own_loop_accelerate.py`.
"""

import torch
from accelerate import Accelerator
from own_loop import EPOCHS, batches, build_net, find_ticket, make_attack, report
from torch.nn import functional as F

import robust_tickets as rt


def main() -> None:
    """Find a ticket, train it, and evaluate it."""
    torch.manual_seed(0)
    ticket = find_ticket()
    accelerator = Accelerator(cpu=True, gradient_accumulation_steps=2)
    net = ticket.apply(build_net())
    optimiser = torch.optim.AdamW(net.parameters(), 3e-3, weight_decay=1e-2)
    prepared, optimiser, loader = accelerator.prepare(net, optimiser, batches())
    hooks = rt.keep_sparse(prepared, ticket, optimiser)  # also once they are wrapped
    view, attack = rt.attack_view(net), make_attack()
    for _ in range(EPOCHS):
        for images, labels in loader:
            with accelerator.accumulate(prepared):
                adversarial = attack(view, images, labels)
                accelerator.backward(F.cross_entropy(prepared(adversarial), labels))
                optimiser.step()
                optimiser.zero_grad()
    hooks.check()
    report(net, hooks.zeros)


if __name__ == "__main__":
    main()
