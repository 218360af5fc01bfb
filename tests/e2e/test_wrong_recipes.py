"""Wrong recipes and flags: the message names the field or flag and the value, and nothing is written.

One case a kind of mistake: fields of other types and out of range are in tests/recipe/.
"""

import pytest

DEMO = "--recipe demo --search.rounds 1"
OWN = "search --recipe demo --model.name"

# name: (words, parts of the message)
CALLS = {
    "unknown command": ("serach --recipe demo", "'serach'; 'search'"),
    "no recipe": ("train --seed 1", "--recipe; demo"),
    "unknown recipe": ("compare --recipe dmeo", "'dmeo'; 'demo'"),
    "no file of the recipe": ("search --recipe {away}/mine.toml", "{away}/mine.toml"),
    "no TOML": ("search --recipe {no_toml}", "{no_toml}; TOML; line 1"),
    "unknown field": ("search --recipe {bad_field}", "{bad_field}; 'search.lrr'; 'lr'"),
    "unknown flag": ("search --recipe demo --search.lrr 1", "--search.lrr; --search.lr"),
    "unknown word": ("search --recipe demo --search.pruning-method grasp", "'grasp'; imp; snip"),
    "unknown network": ("search --recipe demo --model.name resnet", "model.name; 'resnet'; resnet20"),
    "number out of range": ("search --recipe demo --search.lr -1", "search.lr; above 0; -1.0"),
    "eps in bytes": ("search --recipe demo --threat.eps 8", "threat.eps; eps 8; 8/255"),
    "eps of Linf in L2": ("search --recipe cifar10-cpu --threat.norm L2", "threat.eps; 8/255; L2; 0.5"),
    "name of a folder": ("search --recipe demo --name ../up", "'../up'"),
    "seed": ("search --recipe demo --seed -1", "seed; at least 0; -1"),
    "jobs": ("compare --recipe demo --jobs 0", "jobs; at least 1; 0"),
    "device": ("search --recipe demo --device nonsense", "'nonsense'; --device cpu"),
    "device without data": ("search --recipe demo --device meta", "'meta'; --device cpu"),
    "threads": ("search --recipe demo --compute.threads 99999999999", "threads"),
    "arm twice": ("compare --recipe demo --compare.arms dense ticket ticket", "compare.arms; twice"),
    "arm without sense": (
        f"compare {DEMO} --search.pruning-method random --compare.arms dense ticket random",
        "compare.arms random; search.pruning_method random",
    ),
    "falling warm-up": (
        "search --recipe cifar10-cpu --train.warmup-lr 1",
        "train.warmup_lr; train.lr",
    ),
    "field of another schedule": (
        "train --recipe demo --train.schedule cosine --train.milestones 0.3",
        "train.milestones; cosine",
    ),
    "field of another pruning method": (
        f"search {DEMO} --search.pruning-method snip --search.rewind-epochs 1",
        "search.rewind_epochs; snip",
    ),
    "two ways to rewind": (
        "search --recipe demo --search.rewind-iterations 1 --search.rewind-epochs 1",
        "search.rewind_iterations; search.rewind_epochs",
    ),
    "late rewind": ("search --recipe {tiny} --search.rewind-iterations 99", "search.rewind_iterations; 99"),
    "pattern without a layer": (
        "search --recipe {tiny} --search.ignored-layers conv*",
        "'conv*'; fc1.weight",
    ),
    "empty layer": (
        "search --recipe {tiny} --search.scope layer --search.output-ratio 0.9999",
        "fc3.weight; search.output_ratio",
    ),
    "images too small": ("compare --recipe demo --model.name vgg16 --dry-run", "vgg16; 32 x 32; 8 x 8"),
    "batch too large": ("compare --recipe {tiny} --train.batch 41 --dry-run", "batch of 41; 40 training"),
    "too many training images": (
        "search --recipe demo --data.train-images 2000",
        "data.train_images 2000; 1437",
    ),
    "too many test images": ("compare --recipe {tiny} --evaluate.images 361", "361; 360"),
    "width of a user's network": (f"{OWN} own_nets:fine --model.width 2", "model.width; own_nets:fine"),
    "no module": (f"{OWN} away_nets:net", "away_nets"),
    "no function of the module": (f"{OWN} own_nets:fien", "own_nets:fien; fien"),
    "unknown study": ("study ratios --recipe demo", "'ratios'; 'ratio'; schedule"),
    "study without a recipe": ("study lr", "--recipe"),
    "setting twice": ("study lr --recipe demo --study.lr 0.1 0.1", "study.lr; twice"),
}


@pytest.mark.parametrize(("words", "expected"), CALLS.values(), ids=CALLS)
def test_a_wrong_recipe_is_refused(words, expected, refused):
    refused(words, expected)


def test_a_message_is_one_line(call):
    status, err = call("search --recipe demo --search.lr -1")
    assert (status, err) == (2, "robust-tickets: search.lr must be above 0, got -1.0\n")


@pytest.mark.parametrize("command", ["search", "train", "compare", "compare --dry-run", "study lr"])
def test_every_command_refuses_before_it_writes(command, refused):
    refused(f"{command} --recipe demo --device nonsense", "'nonsense'; --device cpu")
