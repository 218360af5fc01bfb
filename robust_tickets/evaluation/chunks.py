"""How many samples are attacked together, and have their verdicts written together."""

CHUNK_FLOPS = {"cpu": 6.6e12, "cuda": 1.3e15}
"""FLOPs of about half a minute, by the kind of device."""

_OTHER_FLOPS = 6.6e13  # of other kinds, which are untried: between the two

_FEWEST = 7


def chunk_size(batch: int, passes: int, flops: int, device: str = "cpu") -> int:
    """The samples of a chunk: fewer where the attack and the network are expensive.

    batch: images that go through the network at once.
    passes: forward and backward passes of a sample that nothing breaks (`Attack.passes_per_sample`).
    flops: FLOPs of a forward pass of one image; 0 where no verdict is written.
    device: the kind, such as "cpu" or "cuda".

    A stop loses the chunk under way. A chunk has twice the batch, so that as samples leave, the others still
    fill whole blocks; that is halved while the chunk could take more than about half a minute, but not below
    seven samples, since blocks of one or two take two to three times as long a sample.

    Two cores do about 220 GFLOP/s in the convolutions of ResNet-18 in float32, and a GPU counts as 200 times
    as fast. With ResNet-18 (1.11e9 FLOPs at 32 x 32) and a batch of 250, a chunk on a CPU has 500 samples
    under FGSM, 125 under PGD-20, 15 under PGD-100 and 7 under AutoAttack, which may take ten minutes.

    The rule depends on nothing but its arguments, so stopped and unstopped evaluations have the same chunks.
    """
    size = 2 * batch
    while size >= 2 * _FEWEST and size * passes * flops > CHUNK_FLOPS.get(device, _OTHER_FLOPS):
        size //= 2
    return size
