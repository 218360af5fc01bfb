"""Print each dependency's lower end as a constraint: `name>=1.2` in pyproject.toml becomes `name==1.2.0`."""

import re
import tomllib
from pathlib import Path

project = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text(encoding="utf-8"))
for dependency in project["project"]["dependencies"]:
    name, lowest = re.fullmatch(r"([\w.-]+)>=([\w.]+)", dependency).groups()
    print(f"{name}=={lowest}{'.0' * (2 - lowest.count('.'))}")
