"""The table of benchmarks/steps.py, from its measurements alone."""

from statistics import median
from typing import Any

from benchmarks.measuring import Records, median_of, paired_ratios, spread
from benchmarks.step_ways import FLOOR, LOADERS, MASKED, OURS, PLAIN, WAYS

Record = dict[str, Any]


def table(records: Records) -> str:
    """Seconds of a step by network, attack and way, with ratios and memory; then those of the batches."""
    about, *rows = records.all()
    steps = [row for row in rows if row["kind"] == "step"]
    lines = [
        "| net | attack | way | seconds a step | spread | times as fast as torchattacks | as ours | "
        "times the floor's seconds | peak, MiB |",
        "| --- | --- | --- | ---: | --- | ---: | ---: | ---: | ---: |",
    ]
    for net, n in dict.fromkeys((record["net"], record["attack_steps"]) for record in steps):
        of_net = [record for record in steps if (record["net"], record["attack_steps"]) == (net, n)]
        by_way = {way: [r for r in of_net if r["library"] == way] for way in WAYS}
        for way, group in by_way.items():
            if not group:
                continue
            plain = "" if way == PLAIN else _ratio(by_way[PLAIN], group)
            ours = "" if way in (PLAIN, FLOOR, OURS) else _ratio(by_way[OURS], group)
            floor = _ratio(group, by_way[FLOOR]) if way in (OURS, MASKED) else ""
            lines.append(
                f"| {net} | PGD-{n} | {way} | {median_of(group, 'seconds'):.3f} | "
                f"{spread(group, 'seconds')} | {plain} | {ours} | {floor} | {_memory(rows, net, n, way)} |"
            )
    return "\n".join([*lines, "", _batches(rows, steps), "", _notes(about), ""])


def _ratio(one: list[Record], other: list[Record]) -> str:
    """The seconds of one way over another's, round by round: median, smallest and largest."""
    ratios = paired_ratios(one, other, "seconds")
    return f"{median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"


def _memory(rows: list[Record], net: str, attack_steps: int, way: str) -> str:
    key = {"kind": "memory", "net": net, "attack_steps": attack_steps, "library": way}
    peaks = [row["mib"] for row in rows if key.items() <= row.items()]
    return f"{peaks[0]:.0f}" if peaks else ""


def _batches(rows: list[Record], steps: list[Record]) -> str:
    """The seconds of an epoch's batches, and their share of an epoch of training."""
    timings = [row for row in rows if row["kind"] == "data"]
    images = timings[0]["n"]
    seconds = {w: median_of([r for r in timings if r["library"] == w], "seconds") for w in (OURS, *LOADERS)}
    shares = []
    for net, n in dict.fromkeys((record["net"], record["attack_steps"]) for record in steps):
        ours = [r for r in steps if (r["net"], r["attack_steps"], r["library"]) == (net, n, OURS)]
        shares.append(f"{net} PGD-{n} {seconds[OURS] / (images // 128 * median_of(ours, 'seconds')):.2%}")
    loaders = ", ".join(f"{way} {seconds[way]:.1f} s" for way in LOADERS)
    return (
        f"Batches of an epoch of {images:,} images in memory, cropped and flipped at random: ours "
        f"{seconds[OURS]:.2f} s, {loaders}. Ours as a share of an epoch: {', '.join(shares)}."
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
