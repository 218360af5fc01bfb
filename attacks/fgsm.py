"""The fast gradient sign method, and its kin in L2."""

from attacks.pgd import PGD
from attacks.threat import ThreatModel


class FGSM(PGD):
    """One step to the edge of the ball (Goodfellow et al. 2015, "Explaining and Harnessing Adversarial
    Examples").

    x + eps * sign(grad of cross-entropy at x), clipped to the box (their section 4): the special case of PGD
    with one step of eps from the image itself. Under an L2 threat it is the fast gradient method, FGM
    (Miyato et al. 2017, "Adversarial Training Methods for Semi-Supervised Text Classification", section 3):
    x + eps * g / ||g||_2, clipped to the box.

        attack = FGSM(ThreatModel("Linf", 8 / 255))
        adversarial = attack(net, images, labels)
    """

    def __init__(self, threat: ThreatModel) -> None:
        super().__init__(threat, steps=1, rel_step=1.0, random_start=False)
