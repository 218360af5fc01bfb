"""A ticket under Lightning's Trainer.

After `pip install lightning`: `python examples/own_loop_lightning.py`.
"""

import lightning
import torch
from own_loop import EPOCHS, batches, build_net, find_ticket, make_attack, report
from torch import Tensor
from torch.nn import functional as F

import robust_tickets as rt


class SparseTraining(lightning.LightningModule):
    """Adversarial training from a ticket."""

    def __init__(self, ticket: rt.Ticket) -> None:
        super().__init__()
        self.ticket = ticket
        self.net = ticket.apply(build_net())
        self.view = rt.attack_view(self.net)
        self.attack = make_attack()

    def training_step(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        """The loss of one batch."""
        images, labels = batch
        adversarial = self.attack(self.view, images, labels)
        return F.cross_entropy(self.net(adversarial), labels)

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Leave pruned weights out of the norm that is clipped."""
        self.hooks.mask_gradients()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """The optimiser, with hooks that keep the network sparse."""
        optimiser = torch.optim.AdamW(self.net.parameters(), 3e-3, weight_decay=1e-2)
        self.hooks = rt.keep_sparse(self.net, self.ticket, optimiser)
        return optimiser


def main() -> None:
    """Find a ticket, train it, and evaluate it."""
    lightning.seed_everything(0)
    module = SparseTraining(find_ticket())
    trainer = lightning.Trainer(
        max_epochs=EPOCHS,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        gradient_clip_val=5.0,
    )
    trainer.fit(module, batches())
    module.hooks.check()
    report(module.net, module.hooks.zeros)


if __name__ == "__main__":
    main()
