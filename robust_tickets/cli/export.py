"""The command `export`."""

from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from robust_tickets.base import signals
from robust_tickets.cli.command import Command, command
from robust_tickets.cli.input_file import InputFile
from robust_tickets.cli.user_net import UserNet


@command
class Export(Command):
    """Write a checkpoint's network so that it runs without this package, checked against the original."""

    checkpoint: Positional[InputFile]
    """a best.safetensors or last.safetensors, or its address; the weights that a ticket pruned are zero in
    it"""
    format: Literal[
        "torch", "onnx", "safetensors", "sparse", "low-rank", "adversarial-pruning-benchmark", "robustbench"
    ] = "torch"
    """torch: a program for torch.export.load; onnx: a model for any ONNX runtime (needs the extra onnx);
    safetensors: the bare weights by parameter name; sparse: a checkpoint of this package in less room, of a
    bit for each weight and the values of those that are not zero; low-rank: as torch, with two factors in
    place of each layer whose rank is so low that this has fewer numbers (tickets of search.basis svd);
    adversarial-pruning-benchmark: a file for that benchmark (resnet18 and vgg16-3fc, 90, 95 or 99 % of the
    weights pruned); robustbench: no network, but its entry for that benchmark's model_info, from what
    AutoAttack measured"""
    out: Annotated[Path | None, arg(metavar="FILE")] = None
    """file to write; without it: beside the checkpoint (of an address: in the current folder), as .pt2,
    .onnx, -weights or -sparse.safetensors, -low-rank.pt2, -benchmark.pt, or -robustbench.json"""
    model: UserNet = UserNet()

    def run(self) -> None:
        """Print the check and the file."""
        if self.format == "robustbench":
            from robust_tickets.report.robustbench import write_model_info

            file, measured = write_model_info(self.checkpoint.path, self.out)
            print(measured)
            print(file)
            return
        with signals.deferred():
            from robust_tickets.training import export

        exported = export.export(self.checkpoint.path, self.format, self.out, self.model.factory())
        print(exported.check)
        print(exported.file)
