"""What a wrapper is: a training method that changes some steps of another one.

Files of wrappers are importable without torch, as those of methods are.
"""

from typing import TYPE_CHECKING, Any, ClassVar

from robust_tickets.training.methods.base import Batch, Method, Networks, Step, StepPasses

if TYPE_CHECKING:
    from torch import Tensor

    from robust_tickets.data.dataset import Dataset
    from robust_tickets.pruning.masking import Masking
    from robust_tickets.recipe.field_names import FieldNames

_INNER = "inner."
"""Begins the names of the inner method's part of the state."""


class Wrapper(Method):
    """A method round another one; what a wrapper does not override is done by its inner method.

    settings: an instance of the class attribute `Settings`, whose fields become the recipe's
    `train.<wrapper>.<field>` and `search.<wrapper>.<field>`.
    inner: the method, which may be a wrapper itself.

    The class attribute `switch` names the field of the settings that turns it on: off at its default;
    `in_search` says whether searches have it too, or only trainings.
    """

    switch: ClassVar[str]
    in_search: ClassVar[bool] = True

    def __init__(self, settings: Any, inner: Method) -> None:
        super().__init__(settings)
        self.inner = inner
        self.norms = inner.norms

    @classmethod
    def wraps(cls, settings: Any) -> bool:
        """Whether its settings turn it on."""
        return bool(getattr(settings, cls.switch) != getattr(cls.Settings(), cls.switch))

    def perturb(self, nets: Networks, batch: Batch) -> "Tensor":
        return self.inner.perturb(nets, batch)

    def loss(self, nets: Networks, batch: Batch, adversarial: "Tensor") -> "Tensor":
        return self.inner.loss(nets, batch, adversarial)

    def after_backward(self, nets: Networks, batch: Batch) -> None:
        self.inner.after_backward(nets, batch)

    def images_of_update(self, adversarial: "Tensor") -> "Tensor":
        return self.inner.images_of_update(adversarial)

    def attack_steps(self) -> int:
        return self.inner.attack_steps()

    def passes(self, samples: int, step: Step) -> StepPasses:
        return self.inner.passes(samples, step)

    def passes_taken(self, samples: int, step: Step) -> StepPasses:
        return self.inner.passes_taken(samples, step)

    def schedule_passes(self, samples: int, begin: int, count: int, classes: int) -> StepPasses:
        return self.inner.schedule_passes(samples, begin, count, classes)

    def prepare(self, data: "Dataset") -> None:
        self.inner.prepare(data)

    def begin(self, masking: "Masking | None") -> None:
        self.inner.begin(masking)

    def check(self, names: "FieldNames") -> None:
        self.inner.check(names)

    def check_length(self, names: "FieldNames", count: int) -> None:
        self.inner.check_length(names, count)

    def state_dict(self) -> "dict[str, Tensor]":
        """The inner method's state; a wrapper that remembers something adds it."""
        return {_INNER + name: value for name, value in self.inner.state_dict().items()}

    def load_state_dict(self, state: "dict[str, Tensor]") -> None:
        super().load_state_dict({n: value for n, value in state.items() if not n.startswith(_INNER)})
        self.inner.load_state_dict(
            {n.removeprefix(_INNER): value for n, value in state.items() if n.startswith(_INNER)}
        )

    @property
    def replays(self) -> int:
        return self.inner.replays

    @property
    def moves_mask(self) -> bool:
        return self.inner.moves_mask

    @property
    def ties_batch(self) -> bool:
        return self.inner.ties_batch

    @property
    def costs_at_most(self) -> bool:
        return self.inner.costs_at_most

    @property
    def single_step(self) -> bool:
        return self.inner.single_step
