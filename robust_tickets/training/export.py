"""A checkpoint's network in formats that run without this package, each checked against the original."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch._dynamo import OptimizedModule

from robust_tickets.attacks.network import set_mode
from robust_tickets.base.errors import InputError
from robust_tickets.base.paths import check_other_file
from robust_tickets.models.copy_net import copy_net
from robust_tickets.models.registry import ModelSpec
from robust_tickets.models.resize import resize_layers
from robust_tickets.models.user_net import NetFactory, make_net
from robust_tickets.runs import files
from robust_tickets.runs.downloads import result_folder
from robust_tickets.training.benchmark_file import save_for_benchmark
from robust_tickets.training.checkpoint import Checkpoint
from robust_tickets.training.low_rank import factorise
from robust_tickets.training.program_file import save_program

Format = Literal["torch", "onnx", "safetensors", "sparse", "low-rank", "adversarial-pruning-benchmark"]
Net = Callable[[Tensor], Tensor]

SUFFIXES: dict[Format, str] = {
    "torch": ".pt2",
    "onnx": ".onnx",
    "safetensors": "-weights.safetensors",
    "sparse": "-sparse.safetensors",
    "low-rank": "-low-rank.pt2",
    "adversarial-pruning-benchmark": "-benchmark.pt",
}

TOLERANCE = 1e-5
"""Largest difference of logits, as a share of the largest logit, or of 1 where that is less."""


@dataclass(frozen=True)
class Export:
    """The file written, and a line on its logits beside the original's, and on parameters that it saves."""

    file: Path
    check: str


def export(checkpoint: Path, form: Format, out: Path | None = None, make: NetFactory | None = None) -> Export:
    """Write the network of a checkpoint in another format.

    checkpoint: its file.
    form: torch (torch.export), onnx, safetensors (weights alone), sparse (a checkpoint in less room),
        low-rank (torch, with two factors for each layer of low rank), or adversarial-pruning-benchmark (see
        `benchmark_file`).
    out: file to write; None: beside the checkpoint, or in the current folder where that was downloaded.
    make: builds a network of the user's own, of which the file has the name alone.

    The exported network takes any number of images float32 (N, C, H, W) in [0, 1] and gives logits
    (N, classes); normalisation is in it, and pruned weights are zero. A torch program also holds what its
    checkpoint says beside the weights, so that it can be evaluated. Raises InputError, and leaves no file,
    where it cannot be exported or its logits differ by more than TOLERANCE.
    """
    original = Checkpoint.load(checkpoint)
    net = original.net(make)
    target = out or result_folder(checkpoint) / (checkpoint.stem + SUFFIXES[form])
    check_other_file(target, checkpoint)
    spec = original.model
    differences: list[float] = []
    sizes: list[str] = []

    def save(part: Path) -> None:
        try:
            exported = _EXPORTERS[form](net, original, part, make)
            differences.append(_difference(exported, net, spec))
            sizes.append(_fewer_parameters(exported, net))
        except InputError:
            raise
        except Exception as error:  # exporters raise whatever the network's own code leads them to
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise InputError(
                f"the network cannot be exported as {form} ({reason}): try another --format; safetensors "
                "always works"
            ) from error
        if not differences[0] <= TOLERANCE:
            raise InputError(
                f"the {form} network's logits differ from the original's by {differences[0]:.1e}, more than "
                f"{TOLERANCE:g}: try another --format"
            )

    files.write(target, save)
    return Export(
        target,
        f"logits differ from the original's by at most {differences[0]:.1e} of their size (on 5 images)"
        f"; {target.stat().st_size:,} bytes, the checkpoint has {checkpoint.stat().st_size:,}{sizes[0]}",
    )


def _torch(net: nn.Module, original: Checkpoint, file: Path, make: NetFactory | None) -> Net:
    program = torch.export.export(
        _inner(net), (_images(original.model, 2),), dynamic_shapes=({0: torch.export.Dim("n")},)
    )
    save_program(program, original, file)
    with file.open("rb") as source:
        return torch.export.load(source).module()


def _onnx(net: nn.Module, original: Checkpoint, file: Path, make: NetFactory | None) -> Net:
    try:
        import onnx
        import onnxruntime
        import onnxscript  # noqa: F401 (torch.onnx needs it)
    except ImportError as error:
        raise InputError(
            f"--format onnx needs the package {error.name}: pip install 'robust-tickets[onnx]'"
        ) from None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of deprecations within torch.onnx itself
        program = torch.onnx.export(
            _inner(net),
            (_images(original.model, 2),),
            dynamo=True,
            verbose=False,
            input_names=["images"],
            output_names=["logits"],
            dynamic_shapes=({0: torch.export.Dim("n")},),
        )
    assert program is not None
    model = program.model_proto
    onnx.checker.check_model(model)
    file.write_bytes(model.SerializeToString())
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    return lambda images: torch.from_numpy(session.run(None, {"images": images.numpy()})[0])


def _safetensors(net: nn.Module, original: Checkpoint, file: Path, make: NetFactory | None) -> Net:
    # layers may share a weight, which safetensors would refuse
    save_file({name: tensor.clone().contiguous() for name, tensor in net.state_dict().items()}, file)
    fresh, state = make_net(original.model, make, seed=1), load_file(file)
    resize_layers(fresh, state)  # a ticket's network may have fewer channels
    fresh.load_state_dict(state)
    return set_mode(fresh, False)


def _sparse(net: nn.Module, original: Checkpoint, file: Path, make: NetFactory | None) -> Net:
    original.save(file, packed=True)
    with TemporaryDirectory() as folder:
        plain = Path(folder) / "plain"
        original.save(plain)
        small, large = (path.stat().st_size for path in (file, plain))
    if small >= large:
        raise InputError(
            f"a sparse file of this network would have {small:,} bytes, and a plain one has {large:,}: too "
            "few of its weights are zero, as where nothing is pruned, or coefficients of a basis are "
            "(search.basis); keep the checkpoint"
        )
    return Checkpoint.load(file).net(make)  # which compares every bit with the hash of what was packed


def _low_rank(net: nn.Module, original: Checkpoint, file: Path, make: NetFactory | None) -> Net:
    small = copy_net(_inner(net))
    factorise(small)
    return _torch(small, original, file, make)


def _inner(net: nn.Module) -> nn.Module:
    """The network within DataParallel or torch.compile, which no exporter takes."""
    while isinstance(net, (nn.DataParallel, OptimizedModule)):
        net = net.module if isinstance(net, nn.DataParallel) else net._orig_mod
    return net


_EXPORTERS: dict[Format, Callable[[nn.Module, Checkpoint, Path, NetFactory | None], Net]] = {
    "torch": _torch,
    "onnx": _onnx,
    "safetensors": _safetensors,
    "sparse": _sparse,
    "low-rank": _low_rank,
    "adversarial-pruning-benchmark": save_for_benchmark,
}


def _fewer_parameters(exported: Net, net: nn.Module) -> str:
    """How many parameters the exported network saves, as the end of a line; "" for none."""
    if not isinstance(exported, nn.Module):
        return ""
    own, before = (sum(p.numel() for p in each.parameters()) for each in (exported, net))
    return f"; {own:,} parameters in place of {before:,}" if own < before else ""


@torch.no_grad()
def _difference(exported: Net, net: nn.Module, spec: ModelSpec) -> float:
    images = _images(spec, 5)  # another number than it was traced with
    expected = net(images)
    return float((exported(images) - expected).abs().max() / expected.abs().max().clamp(min=1.0))


def _images(spec: ModelSpec, n: int) -> Tensor:
    return torch.rand((n, *spec.shape), generator=torch.Generator().manual_seed(n))
