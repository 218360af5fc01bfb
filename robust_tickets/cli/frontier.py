"""The command `frontier`."""

from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from robust_tickets.cli.command import Command, command
from robust_tickets.recipe.schema import NotNegative, Range


@command
class Frontier(Command):
    """Find the cheapest way to a robust accuracy, of the arms of one or several comparisons.

    Prints who is on the Pareto front of cost and accuracy.
    """

    run_paths: Annotated[Positional[tuple[Path, ...]], arg(metavar="RUN...")]
    """run directories of compare, with the same data, network, threat model and attacks"""
    target: Annotated[float, Range(least=0, most=1)] = 0.0
    """robust accuracy to reach, a fraction as 0.38; 0: none is asked for"""
    within: NotNegative = 0.5
    """points of robust accuracy that an arm may be below --of"""
    of: Annotated[str, arg(metavar="ARM")] = "dense"
    """arm that costs and accuracies are compared with"""
    cost: Literal["flops", "seconds"] = "flops"
    """quantity in which the cheapest arm is the cheapest"""
    weights: tuple[Literal["last", "best", "average"], ...] = ("last", "average")
    """weights by which arms are judged, each as a point of its own: of the last epoch, of the best one on
    validation images, averaged over training"""
    out: Annotated[Path | None, arg(metavar="FOLDER")] = None
    """folder for frontier.svg, frontier.md and frontier.csv; without it nothing is written"""

    def run(self) -> None:
        """Print the table and the answers, and write them with the plot where a folder is given."""
        from robust_tickets.report.frontier_answers import Question
        from robust_tickets.report.frontier_runs import read_frontier
        from robust_tickets.report.frontier_table import frontier_markdown
        from robust_tickets.report.write import write_frontier
        from robust_tickets.runs.arm_directory import FrontierFolder
        from robust_tickets.runs.directory import RunDirectory

        frontier = read_frontier([RunDirectory.open(path) for path in self.run_paths], self.weights)
        question = Question(self.of, self.within, self.target, self.cost)
        print(frontier_markdown(frontier, question), end="")
        if self.out is not None:
            folder = FrontierFolder(self.out)
            write_frontier(frontier, question, folder)
            print("", folder.plot, folder.markdown, folder.csv, sep="\n")
