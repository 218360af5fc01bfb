"""The text of `switch`: a table, and how to read it."""

from collections.abc import Sequence

from robust_tickets.evaluation.random_switch import EXPECTED, OTHER, OWN, WORST, SwitchRow


def switch_text(
    rows: Sequence[SwitchRow], attacks: Sequence[str], threat: str, nets: int, images: int
) -> str:
    """The table in Markdown, and what its rows mean.

    rows: as `switch_rows` gives them.
    attacks: names of the attacks.
    threat: norm and radius of the ball, as written.
    nets: how many networks there are.
    images: how many test images.
    """
    lines = ["| the adversary attacks | accuracy % | 95 % interval |", "| --- | ---: | --- |"]
    for row in rows:
        interval = f"{100 * row.low:.1f} to {100 * row.high:.1f}"
        lines.append(f"| {row.attacked or 'nothing'} | {100 * row.accuracy:.1f} | {interval} |")
    return "\n".join(
        [
            *lines,
            "",
            f"**A randomised network**: one of {nets} is drawn for each image, each as likely as the others. "
            f"Accuracy is the mean over all draws and {images:,} test images, {threat}, under "
            f"{', '.join(attacks)}; images count by the attack that leaves the fewest networks right. Its "
            f"robustness is the row *{WORST}*: an adversary who knows the networks, but not the draw, can do "
            f"all of that. *{EXPECTED}*: images made on the mean of the networks' probabilities. *{OTHER}*: "
            "images made on one that is not drawn, which is how such networks were published; it shows how "
            f"far attacks transfer, not what the networks withstand. *{OWN}*: what they withstand without "
            "the secret of the draw.",
        ]
    )
