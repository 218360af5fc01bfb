"""The name of a network as titles and messages have it."""


def network_title(name: str, width: float) -> str:
    """A network's name and width; one of the user's own, `module:function`, has no width."""
    return name if ":" in name else f"{name} at width {width:g}"
