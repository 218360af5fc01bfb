"""The table of benchmarks/gpu.py, from its figures alone."""

from typing import Any

from benchmarks.measuring import Records

Record = dict[str, Any]


def table(records: Records) -> str:
    """All figures, a section a part; then the ratios of a step to torchattacks' and to the bare passes'."""
    about, *rows = records.all()
    machine = about["machine"]
    lines = [f"# {machine.get('gpu') or machine['device']}, torch {machine['torch']}", ""]
    if machine["tiny"]:
        lines += ["A trial of the program with everything small: no figure says anything.", ""]
    for end in (row for row in rows if row["kind"] == "end"):
        figures = [row for row in rows if row["kind"] == "figure" and row["part"] == end["part"]]
        lines += [
            f"## {end['part']} ({end['seconds']:g} s)",
            "",
            "| figure | value | |",
            "| --- | --- | --- |",
        ]
        lines += [f"| {row['name']} | {_text(row['value'])} | {_mark(row)} |" for row in figures]
        lines.append("")
    return "\n".join([*lines, *_ratios(rows)])


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {item:g}" for name, item in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _mark(row: Record) -> str:
    return {None: "", True: "ok", False: "**not as it has to be**"}[row["holds"]]


def _ratios(rows: list[Record]) -> list[str]:
    """Steps by batch and way: times as fast as torchattacks, times the milliseconds of the bare passes."""
    ms = {row["name"]: row["value"]["ms"] for row in rows if row.get("part") == "steps" and "value" in row}
    if not ms:
        return []
    lines = [
        "## Ratios",
        "",
        "| step | times as fast as torchattacks | times the bare passes' milliseconds |",
    ]
    lines.append("| --- | ---: | ---: |")
    for title, taken in ms.items():
        batch = title.partition(":")[0]
        ending = ", bfloat16" if "bfloat16" in title else ""
        plain, floor = (
            ms.get(f"{batch}: torchattacks, as documented"),
            ms.get(f"{batch}: bare passes{ending}"),
        )
        faster = f"{plain / taken:.2f}" if plain else ""
        lines.append(f"| {title} | {faster} | {f'{taken / floor:.2f}' if floor else ''} |")
    return [*lines, ""]
