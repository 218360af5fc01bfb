"""The order of a study's tasks: what several cells share is done once."""

from dataclasses import replace
from pathlib import Path

from robust_tickets.comparison.executors.base import Task
from robust_tickets.comparison.jobs import ArmJob, SearchJob
from robust_tickets.runs.directory import RunDirectory
from robust_tickets.stages.experiment import Experiment
from robust_tickets.studies.jobs import in_order


def test_a_task_waits_for_the_one_before_it_with_the_same_result(tiny_recipe):
    """Then it copies that result. Searches that differ in their rounds alone continue each other."""

    def job(kind, recipe, *arm, seed=0):
        return kind(Experiment(recipe), seed, RunDirectory.of(Path("runs"), recipe), *arm)

    other_arms = replace(tiny_recipe, compare=replace(tiny_recipe.compare, arms=("dense", "ticket")))
    fewer_rounds = replace(tiny_recipe, search=replace(tiny_recipe.search, rounds=1))
    other_search = replace(tiny_recipe, search=replace(tiny_recipe.search, lr=0.2))
    jobs = [
        job(SearchJob, tiny_recipe),
        job(ArmJob, tiny_recipe, "dense"),
        job(ArmJob, tiny_recipe, "ticket"),
        job(SearchJob, fewer_rounds),
        job(SearchJob, other_search),
        job(ArmJob, other_search, "dense"),
        job(ArmJob, other_search, "ticket"),
        job(ArmJob, other_arms, "ticket"),
        job(ArmJob, tiny_recipe, "dense", seed=1),
    ]
    ordered = in_order([Task(str(i), job) for i, job in enumerate(jobs)])
    assert [task.after for task in ordered] == [(), (), (), (0,), (), (1,), (), (2,), ()]
