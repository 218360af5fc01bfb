"""How each command of the documentation is run by the tests: one table.

A text: flags that are added, or put in place of the command's own, so that it takes seconds; empty: as it is.
Slow(text): the same, in the slow tier. Not(reason): its flags are parsed and checked, and it is not run.
"""

from dataclasses import dataclass


class Slow(str):
    """Flags of a command that is run in the slow tier."""


@dataclass(frozen=True)
class Not:
    """Why a command is not run."""

    reason: str


NETS = "--model.name lenet-300-100 --model.width 0.2 "
SHORT = (
    "--data.train-images 64 --data.val-images 20 --search.epochs 1 --search.batch 32 --train.epochs 2 "
    "--train.ticket-epochs 1 --train.batch 32 --train.pgd.steps 1 --evaluate.images 20 "
    "--evaluate.val-steps 1 --evaluate.early-epochs 0 --compute.threads 1"
)
FEW = "--limit 20 --sanity off"
CUDA = Not("needs a GPU and CIFAR-10")
ADDRESS = Not("needs a server")
CLUSTER = Not("tests/comparison and tests/e2e/test_jobs.py start clusters")

_RECURSIVE = (
    "--model.name resnet32 --search.pruning-method recursive "
    "--search.recursive.networks 'resnet14 resnet20' --search.recursive.insert zero-block"
)
_PHOTOS = "--data.name folder --data.root photos --data.resize 32"
_POPUP = (
    "--search.pruning-method edge_popup --search.rounds 1 --search.ratio 0.5 --model.init signed-constant"
)
_TICKET = "runs/.../seed-0/search/ticket.safetensors"

COMMANDS: dict[str, str | Not] = {
    "pip install .": Not("installs the package"),
    "robust-tickets compare --recipe demo --seeds 3": NETS + SHORT,
    "robust-tickets compare --recipe demo --seeds 3 --dry-run": NETS + SHORT,
    "robust-tickets table runs/...": "",
    "robust-tickets frontier runs/... --target 0.5": "--target 0",
    "robust-tickets compare --recipe demo --model.name my_nets:build_net --dry-run": SHORT,
    "robust-tickets compare --recipe demo --model.name my_nets:build_net --seeds 3": Slow(
        f"{SHORT} --seeds 2"
    ),
    "robust-tickets compare --recipe demo --model.name my_nets:build_net": SHORT,
    "robust-tickets evaluate runs/.../seed-0/ticket/best.safetensors --model.name my_nets:build_net": FEW,
    "robust-tickets frontier runs/reference/cifar10-cpu-fast --target 0.34": "",
    "robust-tickets frontier RUN RUN --within 0.5 --of dense --cost seconds --out FOLDER": "--cost flops",
    "python run_half_step.py compare --recipe demo --compare.arms dense dense+half_step "
    "--train.half-step.size 0.7": Slow(NETS + SHORT),
    "robust-tickets evaluate best.safetensors --attacks standard --limit 1000": Slow(FEW),
    "robust-tickets evaluate best.safetensors --attacks autoattack --limit 500": Slow(FEW),
    "robust-tickets evaluate best.safetensors --attacks fgsm 'pgd(steps=50, restarts=10)' "
    "'torchattacks:CW(c=1, steps=50)'": Slow(FEW),
    "robust-tickets evaluate best.safetensors --eps 2/255 4/255 8/255 16/255": Slow(FEW),
    "robust-tickets evaluate best.safetensors --from other/best.safetensors": Slow(FEW),
    "robust-tickets compare --recipe rivals-resnet18 --data.root DIR --device cuda --dry-run": CUDA,
    "robust-tickets compare --recipe rivals-resnet18 --data.root DIR --device cuda --seeds 3": CUDA,
    "make gpu": Not("tests/device/test_gpu_program.py runs it on the CPU"),
    "robust-tickets compare --recipe rivals-resnet18 --data.root DIR --device cuda --devices 2": CUDA,
    "torchrun --nnodes 2 --nproc-per-node 4 --rdzv-backend c10d --rdzv-endpoint HOST:29500 "
    "-m robust_tickets compare --recipe rivals-resnet18 --data.root DIR --device cuda": CUDA,
    "kubectl apply -f cluster.yaml": CLUSTER,
    "kubectl port-forward service/tickets-scheduler 8786": CLUSTER,
    "robust-tickets compare --recipe mine.toml --executor dask://localhost:8786 --no-shared-files": CLUSTER,
    "dask scheduler --scheduler-file scheduler.json": CLUSTER,
    "dask worker --scheduler-file scheduler.json --nthreads 1 --nworkers 2": CLUSTER,
    "robust-tickets compare --recipe mine.toml --seeds 6 --scheduler-file scheduler.json": CLUSTER,
    "robust-tickets compare --recipe mine.toml --seeds 6 --executor slurm "
    "--slurm partition=cpu time=4:00:00 mem=8G": CLUSTER,
    "robust-tickets ticket stretch ticket.safetensors --to resnet32 --out deep.safetensors": "",
    "robust-tickets ticket squeeze deep.safetensors --to resnet20": "",
    "robust-tickets train --recipe mine.toml --model.name resnet32 --ticket deep.safetensors": SHORT,
    f"robust-tickets data show {_PHOTOS}": "",
    f"robust-tickets compare --recipe mine.toml {_PHOTOS} --dry-run": (
        "--data.val-images 6 --data.train-images 0 --search.batch 8 --train.batch 8 --evaluate.images 0"
    ),
    f"robust-tickets search --recipe mine.toml {_RECURSIVE}": Slow(SHORT),
    f"robust-tickets ticket rounds {_TICKET} --target 0.25": "",
    "robust-tickets recipes": "",
    "robust-tickets recipes show paper-vgg16": "",
    "robust-tickets compare --recipe paper-vgg16 --data.root DIR --device cuda --dry-run": CUDA,
    "robust-tickets compare --recipe paper-vgg16 --data.root DIR --device cuda --seeds 3": CUDA,
    "robust-tickets study lr --recipe paper-vgg16 --data.root DIR --device cuda --seeds 3": CUDA,
    "robust-tickets study lr --recipe lab-cpu --data.root DIR --seeds 3": Not("needs CIFAR-10, for hours"),
    "robust-tickets table runs/... --published 'Rice et al. 2020: clean 85.3'": "",
    f"robust-tickets ticket card {_TICKET} --licence cc-by-4.0 --out README.md": "",
    "robust-tickets ticket show https://example.org/ticket.safetensors": ADDRESS,
    "robust-tickets train --recipe mine.toml --ticket "
    "'hf://me/my-tickets@v1/ticket.safetensors#sha256=9f86d0...'": Not("the checksum is cut short"),
    f"robust-tickets compare --recipe demo {_POPUP} --compare.arms dense ticket ticket-untrained "
    "shuffle-untrained": NETS + SHORT,
    "robust-tickets train --recipe demo --model.name lenet-300-100 --model.width 0.1 --train.method natural "
    "--train.epochs 40 --train.lr 0.05 --threat.eps 0.02": Slow("--train.epochs 2 --compute.threads 1"),
    "robust-tickets strong runs/.../seed-0/dense/last.safetensors": Slow(""),
    "robust-tickets switch A/last.safetensors B/last.safetensors C/last.safetensors "
    "--attacks pgd-20 aa-apgd": Slow("--limit 20"),
    "robust-tickets compare --recipe mine.toml --train.budget 2e6passes": "--train.budget 900passes",
    "robust-tickets watch RUN": "",
    "robust-tickets export best.safetensors --format torch": Slow(""),
    "robust-tickets export best.safetensors --format onnx": Slow(""),
    "robust-tickets export runs/.../seed-0/ticket/best.safetensors --format sparse "
    "--out small.safetensors": "",
    "robust-tickets evaluate best.safetensors --save-images images --attacks pgd-20": FEW,
    "robust-tickets report RUN": "",
    "robust-tickets report RUN OTHER-RUN --out both.html": "",
    "robust-tickets report RUN --png": Slow(""),
    "robust-tickets report RUN --images images": Not("needs saved images; tests/report/test_strip.py"),
    "robust-tickets table RUN --format latex": "",
    "robust-tickets table RUN OTHER-RUN --format html --out table.html": "",
    "robust-tickets table RUN --published 'Rice et al. 2020: clean 85.3, aa 53.4'": (
        "--published 'Rice et al. 2020: clean 85.3'"  # a run with AutoAttack would take long
    ),
    f"robust-tickets ticket stability {_TICKET} --recipe mine.toml": Slow("--points 3"),
    "robust-tickets tune --recipe mine.toml --arm dense ticket dense+liet "
    "--field train.lr 0.01 0.02 0.05 0.1": Slow(""),
    "robust-tickets compare --recipe runs/tune-mine-.../tuned.toml --seeds 3": Slow("--seeds 1"),
}

NOT_RUN = {"docs/how-to/share.md"}
"""Pages whose Python is compiled alone: its addresses lead nowhere."""

REPLACED: dict[str, dict[str, str]] = {
    "docs/how-to/own-network.md": {
        '{"name": "digits"}': '{"name": "digits", "train_images": 128, "val_images": 20}'
    },
    "docs/how-to/watch.md": {"runs/.../seed-0/dense": "RUN/seed-0/dense"},
}
"""What is put in place of parts of a page's Python."""
