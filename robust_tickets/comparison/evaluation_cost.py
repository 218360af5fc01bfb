"""What the evaluation of an arm costs, by arithmetic: as if no sample broke, which is an upper bound."""

from collections.abc import Sequence

from robust_tickets.evaluation.attack_names import build_attack
from robust_tickets.evaluation.attack_sets import AA_PAIR, AA_WHOLE
from robust_tickets.evaluation.sanity_checks import sanity_passes
from robust_tickets.stages.evaluate import table_requests
from robust_tickets.stages.evaluation_request import EvaluationRequest
from robust_tickets.stages.experiment import Experiment


def evaluation_passes(experiment: Experiment, checkpoints: Sequence[str]) -> int:
    """Passes of the evaluation of these checkpoints of an arm, by AutoAttack's two members included."""
    requests = [request for name in checkpoints for request in table_requests(experiment, name)]
    return sum(_request_passes(request, experiment) for request in requests)


def whole_passes(experiment: Experiment) -> int:
    """Passes of FAB-T and Square on one checkpoint; 0 where a recipe wants none."""
    evaluate = experiment.recipe.evaluate
    if not evaluate.has_whole_autoattack:
        return 0  # torchattacks need not be imported
    return evaluate.aa_images * (_attack_passes(AA_WHOLE, experiment) - _attack_passes(AA_PAIR, experiment))


def _request_passes(request: EvaluationRequest, experiment: Experiment) -> int:
    images = request.limit or experiment.spec.test_images
    passes = images * sum(_attack_passes(name, experiment) for name in request.attacks)
    return passes + sanity_passes(images) if request.sanity else passes


def _attack_passes(name: str, experiment: Experiment) -> int:
    """Passes of a sample."""
    attack = build_attack(name, experiment.threat, experiment.recipe.evaluate.rel_step)
    return 1 if attack is None else attack.passes_per_sample
