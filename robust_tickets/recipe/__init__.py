"""The recipe: every setting of a run, checked, loaded from TOML and recorded. Free of torch."""
