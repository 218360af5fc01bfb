"""The sets of attacks, and the attacks of tables."""

CLEAN = "clean"
"""The name of the look at images as they are."""

SETS = {
    "quick": (CLEAN, "fgsm", "pgd-20"),
    "standard": (
        CLEAN,
        "fgsm",
        "pgd-20",
        "pgd(steps=20, restarts=5)",
        "pgd(steps=100, loss='margin')",
        "apgd",
        "apgd(loss='dlr')",
    ),
}
"""Names for several attacks at once; `autoattack` is one attack, an ensemble."""

TABLE_ATTACKS = {CLEAN: "clean", "fgsm": "fgsm", "pgd-20": "pgd20"}
"""The attacks that every checkpoint of a run is evaluated with, and their columns in the timing table."""

AA_PAIR = "aa-apgd"
"""APGD-CE and APGD-T, the members of AutoAttack that decide nearly all: where a recipe asks for it, every
checkpoint is judged by them."""

AA_WHOLE = "autoattack"
"""The whole of AutoAttack: FAB-T and Square on what is robust to these two."""

PGD_BESIDE_AA = "pgd-20 on the images of AutoAttack"
"""The name, where results are read, of PGD-20 on the images that AutoAttack judges on."""
