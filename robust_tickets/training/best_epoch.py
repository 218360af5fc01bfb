"""Which epoch of a training is kept, its weights or their average, and going back to it."""

from robust_tickets.models.weights import copy_state, load_weights
from robust_tickets.training.config import TrainingConfig
from robust_tickets.training.state import TrainingState

_NET, _AVERAGE = "net/", "average/"  # first parts of the names in `TrainingState.own_best`


def choose_best(state: TrainingState, config: TrainingConfig) -> None:
    """After an epoch: keep its weights, or their average, where no others have the accuracy that chooses."""
    kind, average = config.evaluate.select_by, state.average
    names = [f"val_{kind}"] if average is None else [f"val_{kind}", f"val_average_{kind}"]
    *earlier, last = state.history
    top = max((record[name] for record in earlier for name in names), default=-1.0)
    if last[names[0]] > top:
        state.best, state.best_epoch, state.best_is_average = copy_state(state.net), state.epoch, False
    if average is None:
        return
    if last[names[1]] > max(top, last[names[0]]):
        state.best, state.best_epoch, state.best_is_average = copy_state(average.net), state.epoch, True
    may_go_back = config.settings.overfitting == "restore-best"
    if may_go_back and last[names[0]] > max((record[names[0]] for record in earlier), default=-1.0):
        own = {f"{_NET}{name}": value for name, value in copy_state(state.net).items()}
        averaged = {f"{_AVERAGE}{name}": value for name, value in average.state_dict().items()}
        state.own_best, state.own_best_epoch = own | averaged, state.epoch


def restore_best(state: TrainingState) -> None:
    """Go back to the best epoch by the weights' own records, and to the average that they had then."""
    if state.average is None:
        load_weights(state.net, state.best, "best epoch")
        state.epoch = state.best_epoch
        return
    own, average = (
        {name.removeprefix(part): v for name, v in state.own_best.items() if name.startswith(part)}
        for part in (_NET, _AVERAGE)
    )
    load_weights(state.net, own, "best epoch")
    state.average.load_state_dict(average)
    state.epoch = state.own_best_epoch
