"""The fast gradient sign method, and its counterpart in L2."""

from .pgd import PGD
from .threat import ThreatModel


class FGSM(PGD):
    """FGSM, one step to the edge of the ball (Goodfellow et al. 2015, "Explaining and Harnessing Adversarial
    Examples", section 4).

    x + eps * sign(gradient of the cross-entropy at x), clipped to the box: PGD with one step of eps from the
    image itself. Under an L2 threat it is the fast gradient method, x + eps * g / ||g||_2 (Miyato et al.
    2017, "Adversarial Training Methods for Semi-Supervised Text Classification", section 3).

    threat: the ball and the box of valid pixels.

        attack = FGSM(ThreatModel("Linf", 8 / 255))
        adversarial = attack(net, images, labels)
    """

    def __init__(self, threat: ThreatModel) -> None:
        super().__init__(threat, steps=1, rel_step=1.0, random_start=False)
