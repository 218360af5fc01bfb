"""The table of benchmarks/steps.py, from its measurements alone."""

from statistics import median
from typing import Any

from benchmarks.measuring import Records, medians, paired, spread
from benchmarks.step_ways import FLOOR, LOADERS, MASKED, OURS, PLAIN, WAYS

Record = dict[str, Any]


def table(records: Records) -> str:
    """Medians and spread of a step by net, attack and way, and the ratios that matter; then the data."""
    all_ = records.all()
    about = next(record for record in all_ if record.get("kind") == "about")
    steps = [record for record in all_ if record.get("kind") == "step"]
    lines = [
        "| net | attack | way | seconds a step | spread | times as fast as torchattacks | as ours | "
        "times the floor's seconds | peak, MiB |",
        "| --- | --- | --- | ---: | --- | ---: | ---: | ---: | ---: |",
    ]
    for net, n in dict.fromkeys((record["net"], record["attack_steps"]) for record in steps):
        of = [record for record in steps if (record["net"], record["attack_steps"]) == (net, n)]
        by = {way: found for way in WAYS if (found := [r for r in of if r["library"] == way])}
        for way, found in by.items():
            plain = "" if way == PLAIN else _ratio(by[PLAIN], found)
            ours = "" if way in (PLAIN, FLOOR, OURS) else _ratio(by[OURS], found)
            floor = _ratio(found, by[FLOOR]) if way in (OURS, MASKED) else ""
            lines.append(
                f"| {net} | PGD-{n} | {way} | {medians(found, 'seconds'):.3f} | {spread(found, 'seconds')} | "
                f"{plain} | {ours} | {floor} | {_memory(all_, net, n, way)} |"
            )
    return "\n".join([*lines, "", _data(all_, steps), "", _notes(about), ""])


def _ratio(of: list[Record], to: list[Record]) -> str:
    """The seconds of one way over another's, round by round: median, smallest and largest."""
    ratios = paired(of, to, "seconds")
    return f"{median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"


def _memory(all_: list[Record], net: str, attack_steps: int, way: str) -> str:
    key = {"kind": "memory", "net": net, "attack_steps": attack_steps, "library": way}
    found = [record["mib"] for record in all_ if key.items() <= record.items()]
    return f"{found[0]:.0f}" if found else ""


def _data(all_: list[Record], steps: list[Record]) -> str:
    """What batches take, and the share of an epoch that this is."""
    found = [record for record in all_ if record.get("kind") == "data"]
    images = found[0]["n"]
    seconds = {w: medians([r for r in found if r["library"] == w], "seconds") for w in (OURS, *LOADERS)}
    shares = []
    for net, n in dict.fromkeys((record["net"], record["attack_steps"]) for record in steps):
        of = [r for r in steps if (r["net"], r["attack_steps"], r["library"]) == (net, n, OURS)]
        shares.append(f"{net} PGD-{n} {seconds[OURS] / (images // 128 * medians(of, 'seconds')):.2%}")
    loaders = ", ".join(f"{way} {seconds[way]:.1f} s" for way in LOADERS)
    return (
        f"Batches of an epoch of {images:,} images in memory, shifted and mirrored: ours {seconds[OURS]:.2f} "
        f"s, {loaders}. Ours as a share of an epoch: {', '.join(shares)}."
    )


def _notes(about: Record) -> str:
    return (
        "Seconds are medians over measurements in turn, in one process; the spread is from smallest to "
        "largest. A ratio is taken within each round of measurements; its median, smallest and largest stand "
        f"there. *{PLAIN}*: torchattacks.PGD and a plain training step, contiguous, eager, its batches "
        "ready beforehand. *ours*: the loop with augmentation, attack, update and, masked, a ticket of "
        "20 % of the weights; of channels: compacted tickets; else with another field of the recipe's "
        "compute (compiling not counted). *floor*: the bare passes of the same folded, "
        "channels-last net, as many, with nothing in between. Peak memory is that of a fresh process beyond "
        f"net and images. Batch 128. Machine: {about['machine']}."
    )
