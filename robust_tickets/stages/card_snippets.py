"""The lines of Python in a model card that load its file."""

import json
import keyword

from robust_tickets.models.registry import ModelSpec
from robust_tickets.tickets.ticket import Ticket

_PLACEHOLDER = "from my_nets import build_net  # your function that builds the network"
_ADDRESS = (
    "With robust-tickets installed. The file's `https://` or `hf://` address, with `#sha256=` and the "
    "checksum above at its end, may stand for its name (`pip install 'robust-tickets[remote]'`)."
)


def ticket_snippet(name: str, ticket: Ticket) -> str:
    """How a ticket is loaded, for a training loop of one's own; name: of its file."""
    model = ticket.model
    if ":" in model.name:
        imports, function = _own_function(model, known=not ticket.source)
        network = f"{function}()"
    else:
        imports, network = "from robust_tickets.models.registry import build", "build(ticket.model, seed=0)"
    return _python(
        "import robust_tickets as rt",
        "import torch",
        imports,
        "",
        f"ticket = rt.Ticket.load({json.dumps(name)})",
        f"net = ticket.apply({network})  # with the ticket's weights, pruned",
        "optimiser = torch.optim.SGD(net.parameters())  # choose a learning rate of your own",
        "rt.keep_sparse(net, ticket, optimiser)  # what is pruned stays zero while you train",
        f"logits = net({_images(model)})",
    )


def checkpoint_snippet(name: str, model: ModelSpec) -> str:
    """How the network of a checkpoint is loaded; name: of its file."""
    imports, function = _own_function(model, known=True) if ":" in model.name else ("", "")
    return _python(
        "import robust_tickets as rt",
        "import torch",
        *([imports] if imports else []),
        "",
        f"net = rt.Checkpoint.load({json.dumps(name)}).net({function})  # in eval mode",
        f"logits = net({_images(model)})",
    )


def _python(*lines: str) -> str:
    return "\n".join(["```python", *lines, "```", "", _ADDRESS])


def _images(model: ModelSpec) -> str:
    return f"torch.rand(1, {', '.join(map(str, model.shape))})"


def _own_function(model: ModelSpec, *, known: bool) -> tuple[str, str]:
    """The import of the function that builds a network of the user's own, and its name.

    known: whether the file names that function. Only a plain name is taken from it, as readers run the lines.
    """
    module, _, function = model.name.partition(":")
    if known and module != "__main__" and all(map(_is_name, [*module.split("."), function])):
        return f"from {module} import {function}", function
    return _PLACEHOLDER, "build_net"


def _is_name(text: str) -> bool:
    return text.isidentifier() and text.isascii() and not keyword.iskeyword(text)
