"""The moving average of a network's weights, with BatchNorm statistics of its own.

Izmailov et al. 2018, "Averaging Weights Leads to Wider Optima and Better Generalization", with an exponential
average that starts at once:

    A_0 = W_0;   after step t = 0, 1, ...:   A <- r A + (1 - r) W,   r = min(decay, (t + 1) / (t + 10))

The statistics of W are wrong for A, which `benchmarks/averages.py` measures: they are estimated anew, over
the adversarial images of the last steps of each epoch.
"""

import torch
from torch import Tensor, nn

from robust_tickets.base.errors import InputError
from robust_tickets.base.ledger import Passes
from robust_tickets.base.process_group import ALONE, ProcessGroup
from robust_tickets.models.copy_net import copy_net
from robust_tickets.models.fold import FoldedNet
from robust_tickets.models.modes import train_mode
from robust_tickets.models.norm_statistics import moving_batchnorms, pass_through
from robust_tickets.models.synchronised_norms import synchronised_norms
from robust_tickets.models.weights import copy_state, copy_tensors, load_weights
from robust_tickets.training.config import TrainingConfig

_WEIGHTS, _IMAGES = "weights/", "images/"  # first parts of the names in a state


def move_average(average: list[Tensor], weights: list[Tensor], decay: float, step: int) -> None:
    """Take up the weights after a step (from 0) into their average, in place."""
    decay = min(decay, (step + 1) / (step + 10))
    # exact where weights do not change, and where they are 0
    torch._foreach_lerp_(average, weights, 1 - decay)


class WeightAverage:
    """The average of a network's weights over the steps of a training.

    net: the network that is trained, with its weights before the first step, pruned ones 0.
    pairs: its convolutions and BatchNorms to fold, as `foldable_batchnorms` gives them.
    config: has the decay, and how many batches give the statistics.
    per_epoch: steps of an epoch.
    group: the processes that share the training.
    """

    def __init__(
        self,
        net: nn.Module,
        pairs: dict[str, str],
        config: TrainingConfig,
        per_epoch: int,
        group: ProcessGroup = ALONE,
    ) -> None:
        self._trained, self._config, self._per_epoch, self._group = net, config, per_epoch, group
        self.net = train_mode(copy_net(net))
        """The averaged network, in train mode."""
        self.folded = FoldedNet(self.net, pairs)
        """Its view for validation."""
        self._norms = moving_batchnorms(self.net)
        self._average: list[Tensor] = [p for p in self.net.parameters() if p.is_floating_point()]
        self._weights: list[Tensor] = [p for p in net.parameters() if p.is_floating_point()]
        self._images: list[Tensor] = []

    @torch.no_grad()
    def update(self, step: int, images: Tensor) -> None:
        """Take up the weights after a step (from 0) on these images (B, C, H, W)."""
        move_average(self._average, self._weights, self._config.average, step - self._config.begin)
        end = min((step // self._per_epoch + 1) * self._per_epoch, self._config.steps)
        if self._norms and end - step <= self._config.average_batches:
            self._keep(images)

    def _keep(self, images: Tensor) -> None:
        # a copy of known strides, so that resuming gives the same bits
        layout = torch.channels_last if self._config.compute.channels_last else torch.contiguous_format
        device = next(self.net.parameters()).device
        kept = torch.empty(images.shape, dtype=images.dtype, device=device, memory_format=layout)
        self._images.append(kept.copy_(images))

    @torch.no_grad()
    def settle(self, step: int) -> Passes:
        """Make the buffers right for the average at the end of an epoch, and give the passes that it took.

        step: steps that are over.

        A training that resumes within its validation has settled already: then nothing is estimated again.
        """
        self._take_buffers()
        with synchronised_norms(train_mode(self.net), self._group):
            pass_through(self.net, self._images, self._config.seed, step - len(self._images))
        samples = sum(map(len, self._images)) * self._group.size
        self._images.clear()
        self._take_buffers()
        return Passes(forward=samples)

    def _take_buffers(self) -> None:
        """Copy all buffers of the trained network but the statistics that are estimated."""
        own = {id(buffer) for norm in self._norms for buffer in norm.buffers()}
        buffers = dict(self.net.named_buffers())
        for name, buffer in self._trained.named_buffers():
            if name not in buffers or id(buffers[name]) in own:
                continue
            if buffers[name].shape == buffer.shape:
                buffers[name].copy_(buffer)
            else:  # assigned anew by forward, as a memory that grows
                module, _, key = name.rpartition(".")
                self.net.get_submodule(module)._buffers[key] = buffer.clone()

    def state_dict(self) -> dict[str, Tensor]:
        """Everything that it remembers between steps, in host memory."""
        whole = map(self._group.gather, self._images)
        images = {f"{_IMAGES}{place}": images for place, images in enumerate(whole)}
        weights = {f"{_WEIGHTS}{name}": value for name, value in copy_state(self.net).items()}
        return {**weights, **copy_tensors(images)}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Take over what `state_dict` gave. Raises InputError for the state of another training."""
        weights = {n.removeprefix(_WEIGHTS): v for n, v in state.items() if n.startswith(_WEIGHTS)}
        load_weights(self.net, weights, "training state")
        count = len(state) - len(weights)
        try:
            images = [state[f"{_IMAGES}{place}"] for place in range(count)]
        except KeyError:
            raise InputError("the training state lacks images of its last steps: remove it") from None
        self._images.clear()
        for batch in images:
            self._keep(batch[self._group.part(len(batch))])
