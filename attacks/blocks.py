"""The net as attacks ask it: in blocks of a few fixed sizes, every pass counted."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from attacks.errors import InputError

Net = Callable[[Tensor], Tensor]


class Blocks:
    """A net that is asked for the logits and gradients of any number of images.

    size: at most so many images go through the net at once. What remains of a call goes in halves of the
    size, halves of those and so on, padded where need be: attacks drop the samples that they broke, and
    kernels that meet new sizes all the time pay for each of them. None: all images of a call at once.

    labels: those of the images, int64; with them all logits are looked at, and InputError is raised for
    logits that are no matrix of floats (N, classes), are NaN or all infinite, for labels that are no class of
    the net, and for a net of fewer than `least_classes`.

    `forwards` and `backwards` count the samples that went through the net, padding included.
    """

    def __init__(
        self, net: Net, size: int | None = None, labels: Tensor | None = None, least_classes: int = 2
    ) -> None:
        self.net = net
        self.size = size
        self.least_classes = least_classes
        self._labels = None if labels is None else (int(labels.min()), int(labels.max()))
        self.forwards = 0
        self.backwards = 0

    @torch.no_grad()
    def logits(self, images: Tensor) -> Tensor:
        """Logits (N, K), without a graph."""
        return torch.cat([self._forward(block, n) for block, n, _ in self._blocks(images)])

    def gradient(
        self, images: Tensor, loss: Callable[..., Tensor], *beside: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Logits (N, K), losses (N,), and the gradient of each sample's loss to its image (N, C, H, W).

        loss: takes a block's logits, and what of `beside` (each (N,)) belongs to the block. Raises InputError
        for a net that has no gradient to its images.
        """
        logits, losses, gradients = [], [], []
        for block, n, rows in self._blocks(images):
            point = block.detach().requires_grad_(True)
            with torch.enable_grad():
                found = self._forward_with_graph(point, n)
                values = loss(found, *(values[rows] for values in beside))
                (gradient,) = _gradient(values.sum(), point)
            self.backwards += len(block)
            logits.append(found.detach())
            losses.append(values.detach())
            gradients.append(gradient[:n])
        if len(gradients) == 1:
            return logits[0], losses[0], gradients[0]
        return torch.cat(logits), torch.cat(losses), torch.cat(gradients)

    def _forward_with_graph(self, point: Tensor, n: int) -> Tensor:
        try:
            return self._forward(point, n)
        except RuntimeError as error:
            if "Can't call numpy() on Tensor that requires grad" in str(error):
                raise InputError(NO_GRADIENT) from None
            raise

    def _forward(self, images: Tensor, n: int) -> Tensor:
        """The logits of the first n images: the others are padding."""
        try:
            logits = self.net(images)
        except RuntimeError as error:
            said = _of_type(self.net, images, error)
            if said is None:
                raise
            raise said from None
        self.forwards += len(images)
        if self._labels is not None:
            _check_logits(logits, len(images), n, *self._labels, self.least_classes)
        return logits[:n]

    def _blocks(self, images: Tensor) -> Iterator[tuple[Tensor, int, slice]]:
        """Images of a fixed number, how many of them are real, and where they stand."""
        if self.size is None:
            yield images, len(images), slice(None)
            return
        for first, size in _cut(len(images), self.size):
            block = images[first : first + size]
            n = len(block)
            if n < size:
                padded = torch.empty_like(images[:1].expand(size, *images.shape[1:]))
                padded[:n], padded[n:] = block, block[-1]
                block = padded
            yield block, n, slice(first, first + n)


_SMALL = 32  # a block up to here takes about as long half empty as two of half its size take full


def _cut(n: int, size: int) -> Iterator[tuple[int, int]]:
    """First place and size of the blocks that cover n samples: the size or one of its halves' halves.

    The rest of a call is padded where that is cheap, else it is cut further.
    """
    sizes = [size >> halvings for halvings in range(size.bit_length())]
    first = 0
    while first < n:
        left = n - first
        block = min((s for s in sizes if s >= left), default=size)
        if block > max(_SMALL, left + block // 8):
            block = max(s for s in sizes if s <= left)
        yield first, block
        first += block


def _gradient(loss: Tensor, point: Tensor) -> tuple[Tensor]:
    try:
        return torch.autograd.grad(loss, point)  # type: ignore[return-value]
    except RuntimeError as error:
        if "does not require grad" in str(error) or "not have been used in the graph" in str(error):
            raise InputError(NO_GRADIENT) from None
        raise


NO_GRADIENT = (
    "the net has no gradient to its images (it detaches them, or computes without torch): attack it with a "
    "black-box attack, square, or hand over the net before what cuts the gradient"
)


def _of_type(net: Net, images: Tensor, error: RuntimeError) -> InputError | None:
    """What to say where a net failed on images of another type than its parameters."""
    parameters = net.parameters() if isinstance(net, nn.Module) else ()
    own = next((p.dtype for p in parameters if p.is_floating_point()), images.dtype)
    if own == images.dtype or "type" not in str(error):
        return None
    return InputError(
        f"the net computes in {own} and the images are {images.dtype}: convert one of them, as by images.to"
        f"({own})"
    )


def _check_logits(logits: Tensor, size: int, n: int, lowest: int, highest: int, least: int) -> None:
    if not isinstance(logits, Tensor) or logits.ndim != 2 or len(logits) != size:
        what = f"shape {tuple(logits.shape)}" if isinstance(logits, Tensor) else f"a {type(logits).__name__}"
        raise InputError(
            f"the net gave {what} for {size} images, expected logits (N, classes): let it return them alone"
        )
    if not logits.is_floating_point():
        raise InputError(f"the net gave {logits.dtype}, expected logits, which are floats, not classes")
    classes = logits.shape[1]
    if classes < least:
        raise InputError(
            f"the net has {classes} {'class' if classes == 1 else 'classes'}, this attack needs {least}"
            + (": choose another, as pgd or apgd" if least > 2 else ": let it give a logit for each class")
        )
    if lowest < 0 or highest >= classes:
        raise InputError(
            f"labels lie in {lowest} to {highest}, but the net has {classes} classes (0 to {classes - 1})"
        )
    odd = logits[:n].isnan().any(1)
    if bool(odd.any()):
        raise InputError(
            f"the net gave logits that are no numbers (NaN) for {int(odd.sum())} of {n} images: its weights "
            "are damaged, or it divides by zero on some images: use another checkpoint, or mend the net"
        )
    odd = ~logits[:n].isfinite().any(1)
    if bool(odd.any()):
        raise InputError(
            f"the net gave only infinite logits for {int(odd.sum())} of {n} images, where no loss can be "
            "climbed: look for what overflows in it"
        )
