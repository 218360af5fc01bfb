"""The table of benchmarks/attacks.py, from its measurements alone."""

from typing import Any

from benchmarks.measuring import Records, median_of, spread


def table(records: Records) -> str:
    """Medians, spread and speed against torchattacks; then memory and agreement, in sentences."""
    about, *rest = records.all()
    timings = [record for record in rest if "seconds" in record]
    lines = [
        "| net | attack | library | images | accuracy % | seconds | spread | forwards | backwards | speed |",
        "| --- | --- | --- | ---: | ---: | ---: | --- | ---: | ---: | ---: |",
    ]
    for net, attack in dict.fromkeys((record["net"], record["attack"]) for record in timings):
        group = [record for record in timings if (record["net"], record["attack"]) == (net, attack)]
        by_library: dict[str, list[dict[str, Any]]] = {}
        for record in group:
            by_library.setdefault(record["library"], []).append(record)
        base = median_of(by_library["torchattacks"], "seconds")
        for library, rows in by_library.items():
            seconds, first = median_of(rows, "seconds"), rows[0]
            accuracy = f"{100 * first['accuracy']:.1f}" if "accuracy" in first else ""
            lines.append(
                f"| {net} | {attack} | {library} | {first['n']} | {accuracy} | {seconds:.2f} | "
                f"{spread(rows, 'seconds')} | {first['forwards']:,} | {first['backwards']:,} | "
                f"{base / seconds:.2f} |"
            )
    notes = [
        "Seconds are medians, the spread is from smallest to largest; the libraries were measured in turn, "
        "each in a process of its own. Ours keeps freed memory, as its command line does; the others run as "
        "they come. Speed is how many times torchattacks'. *images*: all samples to the last step, as "
        "training wants them; *accuracy*: verdicts, where ours lets broken samples leave.",
        f"Linf 8/255, step 2/255, batches of 250. Machine: {about['machine']}.",
        *(
            sentence(record)
            for kind, sentence in (("memory", _memory), ("agreement", _agreement), ("shrinking", _shrinking))
            for record in rest
            if record.get("kind") == kind
        ),
    ]
    return "\n".join([*lines, "", "\n\n".join(notes), ""])


def _memory(record: dict[str, Any]) -> str:
    return (
        f"{record['net']}, memory at the peak of PGD-20 on {record['n']} images, beyond net and images: "
        f"ours {record['ours']:.0f} MiB, torchattacks {record['torchattacks']:.0f} MiB."
    )


def _agreement(record: dict[str, Any]) -> str:
    return (
        f"{record['net']}, PGD-20 with 5 restarts from the same starts, {record['n']} images: "
        f"ours alone breaks {record['ours alone']}, torchattacks alone {record['torchattacks alone']}."
    )


def _shrinking(record: dict[str, Any]) -> str:
    differ = ", ".join(f"{count} in blocks of {size}" for size, count in record["differ"].items())
    margins = ", ".join(f"{value:+.3g}" for value in record["margins"].values())
    return (
        f"{record['net']}, PGD-20 on {record['n']} images in float32: verdicts with shrinking that differ "
        f"from those without: {differ}" + (f"; the margins of these samples: {margins}." if margins else ".")
    )
