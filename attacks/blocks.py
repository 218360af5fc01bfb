"""Runs a network for attacks in blocks of a few fixed sizes and counts the passes."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import Tensor, nn

from .errors import InputError
from .network import WRITES, Net, hint_for, unwritten
from .postponed import PostponedChecks


class Blocks:
    """Runs a network for attacks in blocks of a few fixed sizes and counts the passes.

    Attacks drop the samples that they broke, and kernels that meet new sizes all the time pay for each of
    them. So the rest of a call goes in halves of the block size, halves of those and so on, padded where need
    be.

    net: from images (N, C, H, W) to logits (N, K).
    size: at most so many images go through the network at once; None: all images of a call.
    labels: int64 (N,), the classes of the images; with them all logits are checked.
    least_classes: how many classes the network must have.
    postpone: whether what is checked on the device waits for the next `read`, as a GPU is waited for; else it
        is read at the end of each call.

    `forwards` and `backwards` count the samples that went through the network, padding included. Raises
    InputError for a network that writes into its images. With labels, also for logits that are no matrix of
    floats (N, classes), are NaN or all infinite, for labels that are no class of the network, and for too few
    classes.
    """

    def __init__(
        self,
        net: Net,
        size: int | None = None,
        labels: Tensor | None = None,
        least_classes: int = 2,
        *,
        postpone: bool = False,
    ) -> None:
        self.net = net
        self.size = size
        self.least_classes = least_classes
        self.postpone = postpone
        self._labels: list[int] | None = None
        if labels is not None:
            self._labels = torch.stack([labels.min(), labels.max()]).tolist()
        self.forwards = 0
        self.backwards = 0
        # whether the images' values are compared in the next call with a graph, and without one
        self._compare = {True: labels is not None, False: labels is not None}
        self._checks = PostponedChecks()

    def read(self, *numbers: Tensor) -> list[int]:
        """Numbers of the device, each int64 (), on the host: one wait, where postponed checks may raise."""
        return self._checks.read(*numbers)

    @contextmanager
    def checks(self) -> Iterator[None]:
        """Read all checks at the end of a block, also where it fails: the first fault is the one to name."""
        try:
            yield
        except Exception:
            self.read()
            raise
        self.read()

    def call(self, images: Tensor) -> Tensor:
        """What the network gives for images, which it must leave as they are: they are the attack's own."""
        # values too, once: writes through .data or numpy count no version
        graph = torch.is_grad_enabled()
        values = images.detach().clone() if self._compare[graph] else None
        self._compare[graph] = False
        try:
            with unwritten(self.net, images):
                output = self.net(images)
        except InputError:
            if values is not None:
                images.detach().copy_(values)  # they may share memory with the caller's
            raise
        if values is not None:
            self._check_unwritten(images.detach(), values)
        return output

    def _check_unwritten(self, images: Tensor, values: Tensor) -> None:
        def error(_: int) -> Exception:
            images.copy_(values)
            return InputError(WRITES)

        changed = (images != values) & ~(images.isnan() & values.isnan())
        self._checks.add(changed.any().long(), error)

    @torch.no_grad()
    def logits(self, images: Tensor) -> Tensor:
        """Logits (N, K), without a graph."""
        with self._call():
            return torch.cat([self._forward(block, n) for block, n, _ in self._blocks(images)])

    def gradient(
        self, images: Tensor, loss: Callable[..., Tensor], *classes: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Logits (N, K), losses (N,), and the gradient of each sample's loss to its image (N, C, H, W).

        images: (N, C, H, W).
        loss: from logits (N, K) and `classes` to one value a sample, (N,).
        classes: further arguments of the loss, each (N,): labels, targets.

        Raises InputError for a network that has no gradient to its images.
        """
        all_logits, all_losses, gradients = [], [], []
        with self._call():
            for block, n, rows in self._blocks(images):
                point = block.detach().requires_grad_(True)
                with torch.enable_grad():
                    logits = self._forward_with_graph(point, n)
                    losses = loss(logits, *(each[rows] for each in classes))
                    (gradient,) = _gradient(losses.sum(), point)
                self.backwards += len(block)
                all_logits.append(logits.detach())
                all_losses.append(losses.detach())
                gradients.append(gradient[:n])
        if len(gradients) == 1:
            return all_logits[0], all_losses[0], gradients[0]
        return torch.cat(all_logits), torch.cat(all_losses), torch.cat(gradients)

    def _call(self) -> AbstractContextManager[None]:
        return nullcontext() if self.postpone else self.checks()

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
            logits = self.call(images)
        except RuntimeError as error:
            if "Inference tensors cannot be saved" in str(error):
                raise InputError(_INFERENCE) from None
            mismatch = _type_mismatch(self.net, images, error)
            if mismatch is None:
                raise
            raise mismatch from None
        self.forwards += len(images)
        if self._labels is not None:
            _check_shape(logits, len(images), self._labels, self.least_classes)
            self._check_finite(logits[:n].detach())
        return logits[:n]

    def _check_finite(self, logits: Tensor) -> None:
        n = len(logits)

        def nan(count: int) -> Exception:
            return InputError(
                f"the network gave NaN logits for {count} of {n} images: its weights are damaged, or it "
                "divides by zero on some images: use another checkpoint, or repair the network"
            )

        def infinite(count: int) -> Exception:
            return InputError(
                f"the network gave only infinite logits for {count} of {n} images, and no loss can rise "
                "there: find what overflows in it"
            )

        self._checks.add(logits.isnan().any(1).sum(), nan)
        self._checks.add((~logits.isfinite().any(1)).sum(), infinite)

    def _blocks(self, images: Tensor) -> Iterator[tuple[Tensor, int, slice]]:
        """Blocks of images, how many of them are not padding, and their places in the call."""
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


_SMALL = 32  # so small a block, half empty, takes about as long as two full ones of half its size


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
        if "use_reentrant" in str(error):
            raise InputError(
                "the network has no gradient to its images alone, as it runs torch.utils.checkpoint with "
                "use_reentrant=True: pass use_reentrant=False there"
            ) from None
        raise


NO_GRADIENT = (
    "the network has no gradient to its images (it detaches them, or computes without torch): attack it with "
    "a black-box attack, square, or hand over the network before what cuts the gradient"
)

_INFERENCE = (
    "the network was made within torch.inference_mode, so that it has no gradient: make it, or a "
    "copy.deepcopy of it, outside of that mode"
)


def _type_mismatch(net: Net, images: Tensor, error: RuntimeError) -> InputError | None:
    """The error in words where a network failed on images of another type than its parameters."""
    parameters = net.parameters() if isinstance(net, nn.Module) else ()
    dtype = next((p.dtype for p in parameters if p.is_floating_point()), images.dtype)
    if dtype == images.dtype or "type" not in str(error):
        return None
    return InputError(
        f"the network computes in {dtype} and the images are {images.dtype}: convert one of them, as by "
        f"images.to({dtype})"
    )


def _check_shape(logits: Tensor, size: int, labels: list[int], least: int) -> None:
    if not isinstance(logits, Tensor) or logits.ndim != 2 or len(logits) != size:
        is_tensor = isinstance(logits, Tensor)
        got = f"shape {tuple(logits.shape)}" if is_tensor else f"an output of type {type(logits).__name__}"
        raise InputError(
            f"the network gave {got} for {size} images, expected logits (N, classes): let it return them "
            f"alone{'' if is_tensor else hint_for(logits)}"
        )
    if not logits.is_floating_point():
        raise InputError(f"the network gave {logits.dtype}, expected logits, which are floats, not classes")
    classes = logits.shape[1]
    if classes < least:
        raise InputError(
            f"the network has {classes} {'class' if classes == 1 else 'classes'}, this attack needs {least}"
            + (": choose another, as pgd or apgd" if least > 2 else ": let it give a logit for each class")
        )
    lowest, highest = labels
    if lowest < 0 or highest >= classes:
        raise InputError(
            f"labels lie in {lowest} to {highest}, but the network has {classes} classes (0 to {classes - 1})"
        )
