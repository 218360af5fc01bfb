"""Search, train and evaluate as stages: each makes one artefact, unless it exists."""
