"""Random pruning: as many weights at random positions, the least that a pruning method has to beat."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from robust_tickets.base.errors import InputError
from robust_tickets.base.ledger import Passes
from robust_tickets.tickets.methods.base import PruningAtInit, SearchPlan, SearchTask

if TYPE_CHECKING:
    from robust_tickets.pruning.mask import Mask
    from robust_tickets.tickets.pruning_step import PruningStep


@dataclass(frozen=True)
class RandomSettings:
    """The layers of pruning method random."""

    densities: Literal["uniform", "er", "erk"] = "erk"
    """density of layers: uniform; er (Erdos-Renyi: small layers are denser); erk: er with kernel sizes"""


class Random(PruningAtInit):
    """Random positions, without training.

    Layer densities: uniform; in proportion to (in + out) / (in out) (er: Mocanu et al. 2018, equation 1); to
    (in + out + h + w) / (in out h w) (erk: Evci et al. 2020, section 3).
    """

    Settings = RandomSettings
    settings: RandomSettings
    unused: ClassVar[Mapping[str, str]] = {
        **PruningAtInit.unused,
        **dict.fromkeys(("images", "eps"), "which looks at no image"),
        "criterion": "which has no scores",
        "scope": "whose layers have search.random.densities",
    }
    uses_data = False

    def mask(self, task: SearchTask, step: "PruningStep") -> "Mask":
        from robust_tickets.pruning.criteria import ignored_layers
        from robust_tickets.pruning.densities import random_mask
        from robust_tickets.pruning.layers import layer_roles
        from robust_tickets.pruning.mask import Mask

        with task.session.ledger.phase("prune"):
            full, roles = Mask.full(task.net), layer_roles(task.net, task.data.spec.shape)
            ignored, seed = ignored_layers(self.search, full, roles), task.config.seed
            return random_mask(full, self.search.ratio, self.settings.densities, seed, ignored)

    def passes(self, plan: SearchPlan, classes: int) -> Passes:
        return Passes()

    def check(self) -> None:
        super().check()
        if self.search.granularity == "channel":
            raise InputError(
                "search.granularity channel makes no sense with search.pruning_method random: random "
                "channels are a narrower network, which compare.arms dense-narrow-flops trains; choose "
                "another method"
            )

    def describe(self) -> str:
        return f"random, {self.settings.densities}"

    @property
    def redundant_transforms(self) -> frozenset[str]:
        """All but shuffling over the network, and that too where layers are equally dense."""
        uniform = {"shuffle-net"} if self.settings.densities == "uniform" else set()
        return frozenset({"reinit", "shuffle-layer", "random"} | uniform)
