"""Orthonormal bases of layers' weights, in which the coefficients are pruned in place of the weights.

Alabdulmohsin et al. 2021, "A Generalized Lottery Ticket Hypothesis" (arXiv 2107.06825): sparsity is a matter
of the coordinates. With B the basis of a layer (rows are its vectors), c = B w its coefficients and m a mask
of these, the weights of a ticket lie in the range of P = B^T diag(m) B. A training that projects the gradient
before, and the weights after each step of SGD by P is the training of the kept coefficients, since P commutes
with momentum and weight decay; Adam's steps do not.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from robust_tickets.base.errors import InputError
from robust_tickets.base.random_streams import basis_generator

Kind = Literal["dct", "random", "svd", "svd-block"]
Axes = Literal["spatial", "all"]


@dataclass(frozen=True, eq=False)
class Factor:
    """An orthonormal map of some neighbouring dimensions of a weight, taken together.

    first, last: the dimensions.
    matrix: (coefficients, entries) float64; there may be fewer coefficients, the others are zero.
    """

    first: int
    last: int
    matrix: Tensor

    def apply(self, tensor: Tensor, change: Callable[[Tensor], Tensor] = lambda matrix: matrix) -> Tensor:
        """The tensor with its dimensions mapped by the matrix, or by what `change` makes of it."""
        matrix = change(self.matrix).to(tensor)
        flat = tensor.flatten(self.first, self.last)
        size = flat.shape[self.first]
        flat = flat.narrow(self.first, 0, matrix.shape[1])
        mapped = torch.tensordot(matrix, flat, dims=([1], [self.first])).movedim(0, self.first)
        missing = size - mapped.shape[self.first]
        if missing:
            zeros = mapped.new_zeros((*mapped.shape[: self.first], missing, *mapped.shape[self.first + 1 :]))
            mapped = torch.cat([mapped, zeros], self.first)
        result: Tensor = mapped.reshape(tensor.shape)
        return result


class Basis:
    """An orthonormal basis of the weights of each of some layers.

    kind, axes, seed: what it is made from; `axes` means nothing to svd, `seed` to random alone.
    factors: by parameter name; layers without any keep their entries as coefficients.
    """

    def __init__(self, kind: Kind, axes: Axes, seed: int, factors: Mapping[str, tuple[Factor, ...]]) -> None:
        self.kind, self.axes, self.seed = kind, axes, seed
        self.factors = dict(factors)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Basis) or self.factors.keys() != other.factors.keys():
            return False
        pairs = [
            (one.matrix, two.matrix)
            for name, factors in self.factors.items()
            for one, two in zip(factors, other.factors[name], strict=True)
        ]
        return self.kind == other.kind and all(torch.equal(one, two) for one, two in pairs)

    __hash__ = None  # type: ignore[assignment]

    @property
    def is_of_trained_weights(self) -> bool:
        """Whether it is made from the weights at the end of a training."""
        return self.kind.startswith("svd")

    def coefficients(self, name: str, weight: Tensor) -> Tensor:
        """The coefficients of a weight, in its own shape."""
        for factor in self.factors.get(name, ()):
            weight = factor.apply(weight)
        return weight

    def weight(self, name: str, coefficients: Tensor) -> Tensor:
        """The weight of coefficients in its shape."""
        for factor in reversed(self.factors.get(name, ())):
            coefficients = factor.apply(coefficients, torch.t)
        return coefficients

    def project(self, name: str, weight: Tensor, mask: Tensor) -> Tensor:
        """The part of a weight that the kept coefficients span; mask: 0 or 1, in the weight's shape."""
        return self.weight(name, self.coefficients(name, weight) * mask)

    def support(self, name: str, mask: Tensor) -> Tensor:
        """Bool: which entries of a weight can be other than zero."""
        reach = mask.double()
        for factor in reversed(self.factors.get(name, ())):
            reach = factor.apply(reach, lambda matrix: (matrix.abs() > 1e-12).double().t())
        return reach > 0

    def candidates(self, name: str, shape: torch.Size) -> Tensor:
        """Bool, of that shape: the coefficients that a search chooses from: of svd, the singular values."""
        if not self.is_of_trained_weights or name not in self.factors:
            return torch.ones(shape, dtype=torch.bool)
        rank = len(self.factors[name][0].matrix)
        entries = torch.zeros((shape[0], shape[1:].numel()), dtype=torch.bool)
        entries[range(rank), range(rank)] = True
        return entries.reshape(shape)

    def chosen(self, name: str, mask: Tensor) -> Tensor:
        """The mask of a ticket from that of the candidates: of svd-block, all that the kept vectors span."""
        if self.kind != "svd-block" or name not in self.factors:
            return mask
        flat = mask.flatten(1)
        return (flat.any(1, keepdim=True) & flat.any(0, keepdim=True)).reshape(mask.shape)


def make_basis(kind: Kind, axes: Axes, weights: Mapping[str, Tensor], seed: int) -> Basis:
    """The basis of some layers.

    dct: the discrete cosine transform (II) along each axis. random: an orthonormal matrix drawn from the
    seed, of the kernel's entries together or along each axis. svd: the singular vectors of the weights.
    axes: spatial, those of kernels, so that linear layers keep their entries; or all.
    weights: by parameter name; svd reads their values, others their shapes alone.
    seed: of the random matrices.
    """
    generator = basis_generator(seed)
    if kind.startswith("svd"):
        return Basis(kind, axes, seed, {name: _singular(weight) for name, weight in weights.items()})
    draw: Callable[[int], Tensor] = dct_matrix if kind == "dct" else lambda n: random_matrix(n, generator)
    factors = {}
    for name, weight in weights.items():
        sizes = weight.shape
        if axes == "all":
            groups = [(axis, axis, sizes[axis]) for axis in range(len(sizes))]
        elif kind == "dct":
            groups = [(axis, axis, sizes[axis]) for axis in range(2, len(sizes))]
        else:
            groups = [(2, len(sizes) - 1, sizes[2:].numel())] if len(sizes) > 2 else []
        groups = [(a, b, n) for a, b, n in groups if n > 1]
        factors[name] = tuple(Factor(a, b, draw(n)) for a, b, n in groups)
    return Basis(kind, axes, seed, factors)


def dct_matrix(n: int) -> Tensor:
    """The orthonormal DCT-II of n numbers, (n, n) float64; rows are its vectors."""
    places = torch.arange(n, dtype=torch.float64)
    matrix: Tensor = (2 / n) ** 0.5 * torch.cos(torch.pi * (2 * places[None] + 1) * places[:, None] / (2 * n))
    matrix[0] /= 2**0.5
    return matrix


def random_matrix(n: int, generator: torch.Generator) -> Tensor:
    """An orthonormal matrix (n, n) float64, uniformly distributed (QR of a normal matrix; Mezzadri 2007)."""
    q, r = torch.linalg.qr(torch.randn(n, n, dtype=torch.float64, generator=generator))
    matrix: Tensor = q * torch.where(r.diagonal() < 0, -1.0, 1.0)
    return matrix


def _singular(weight: Tensor) -> tuple[Factor, ...]:
    """The singular vectors of a weight as a matrix (out, rest)."""
    matrix = weight.detach().double().cpu().flatten(1)
    left, _, right = torch.linalg.svd(matrix, full_matrices=False)
    return Factor(0, 0, left.t().contiguous()), Factor(1, weight.ndim - 1, right.contiguous())


def check_own_weights(net: nn.Module, names: Mapping[str, Tensor]) -> None:
    """Raise InputError where several layers share a weight, which has no basis of one layer."""
    users: dict[int, list[str]] = {}
    for module_name, module in net.named_modules():
        weight = getattr(module, "weight", None)
        if isinstance(weight, Tensor):
            users.setdefault(id(weight), []).append(module_name)
    for name, weight in names.items():
        if len(users.get(id(weight), [])) > 1:
            raise InputError(
                f"the weight {name} is shared by {' and '.join(users[id(weight)])}, and a basis is of one "
                "layer: leave it out by search.ignored_layers, or take search.basis canonical"
            )
