"""A net that counts who passes."""

from torch import Tensor, nn


class Counted(nn.Module):
    """Counts the samples that go forward through a net and those whose gradient comes back; notes sizes."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net
        self.forwards = self.backwards = 0
        self.sizes: list[int] = []

    def forward(self, images: Tensor) -> Tensor:
        self.forwards += len(images)
        self.sizes.append(len(images))
        logits = self.net(images)
        if logits.requires_grad:
            logits.register_hook(self._back)
        return logits

    def _back(self, gradient: Tensor) -> None:
        self.backwards += len(gradient)

    @property
    def passes(self) -> tuple[int, int]:
        """Both."""
        return self.forwards, self.backwards
