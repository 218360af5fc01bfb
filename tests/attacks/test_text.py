"""Attacks by their text; a text that names none is refused."""

import re
import warnings

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robust_tickets.attacks import FGSM, PGD, InputError, ThreatModel
from robust_tickets.attacks.adapter import TorchAttack
from robust_tickets.attacks.apgd import APGD, APGDTargeted
from robust_tickets.attacks.ensemble import Ensemble
from robust_tickets.attacks.square import Square
from robust_tickets.attacks.text import BUILDERS, canonical, parse

THREAT = ThreatModel("Linf", 8 / 255)

GOOD = {
    "fgsm": (FGSM, {}),
    "pgd-20": (PGD, {"steps": 20, "random_start": True, "rel_step": 0.125, "restarts": 1}),
    "pgd(steps=20, restarts=5, loss='margin')": (PGD, {"steps": 20, "restarts": 5, "loss": "margin"}),
    "pgd(steps=2, random_start=False)": (PGD, {"random_start": False}),
    "pgd(steps=2, step_size=2/255)": (PGD, {"step_size": 2 / 255}),
    "pgd(steps=2, step_size=+1e-2)": (PGD, {"step_size": 0.01}),
    "pgd(steps=2, rel_step=1)": (PGD, {"rel_step": 1}),
    "pgd(steps=2, step_size=None)": (PGD, {"rel_step": 0.125}),
    "apgd(steps=5)": (APGD, {"steps": 5, "loss": "ce"}),
    "apgd-t(targets=3, steps=7)": (APGDTargeted, {"targets": 3, "steps": 7}),
    "apgd-t(restarts=5)": (APGDTargeted, {"targets": 9, "restarts": 5}),
    "square(queries=1000)": (Square, {"queries": 1000}),
    "aa-apgd": (Ensemble, {"apgd-ce": {"steps": 100, "loss": "ce", "restarts": 1, "rho": 0.75}}),
    "autoattack": (Ensemble, {}),
    "fab-t": (TorchAttack, {"name": "FAB", "steps": 100, "multi_targeted": True, "n_restarts": 1}),
    "torchattacks:CW(c=1, steps=50)": (TorchAttack, {"name": "CW", "c": 1, "steps": 50}),
    "torchattacks:CW(kappa=-1/2)": (TorchAttack, {"kappa": -0.5}),
    "torchattacks:Pixle(x_dimensions=(1, 3), pixel_mapping='random')": (
        TorchAttack,
        {"x_dimensions": (1, 3), "pixel_mapping": "random"},
    ),
}


@pytest.mark.parametrize("text", GOOD)
def test_a_text_names_an_attack_and_its_settings(text):
    kind, expected = GOOD[text]
    attack = parse(text, THREAT, rel_step=0.125)
    assert type(attack) is kind
    assert attack.threat is THREAT
    for name, value in expected.items():
        setting = attack.settings[name]
        assert setting == (pytest.approx(value) if isinstance(value, float) else value)


def test_the_step_of_pgd_is_a_quarter_of_eps_by_default():
    assert parse("pgd-20", THREAT).settings["rel_step"] == pytest.approx(0.25)


CANONICAL = {
    "  pgd-20 ": "pgd-20",
    "pgd-020": "pgd-20",
    'pgd-20 ( loss = "dlr",restarts=2 )': "pgd-20(restarts=2, loss='dlr')",
    "fgsm()": "fgsm",
    "apgd( steps = 5,)": "apgd(steps=5)",
    "pgd(steps=2,step_size=2 / 255)": "pgd(steps=2, step_size=2/255)",
    "torchattacks:CW(kappa=-.50,c=+1)": "torchattacks:CW(kappa=-0.5, c=1)",
    "x(a=(1,),b=(),c=('q', None, True))": "x(a=(1,), b=(), c=('q', None, True))",
}


@pytest.mark.parametrize("text", CANONICAL)
def test_an_attack_has_one_spelling(text):
    assert canonical(text) == CANONICAL[text]
    assert canonical(canonical(text)) == canonical(text)


@pytest.mark.parametrize("text", GOOD)
def test_the_one_spelling_names_the_same_attack(text):
    assert repr(parse(canonical(text), THREAT)) == repr(parse(text, THREAT))


BAD = {
    "": "'' is no name with arguments in brackets; write an attack like pgd-20",
    "pgd)(": "is no name",
    "pdg": "unknown attack 'pdg': did you mean 'pgd'? known: pgd-20, fgsm, apgd, apgd-t, ",
    "FGSM": "unknown attack 'FGSM': did you mean 'fgsm'",
    "pgd": "attack 'pgd' has no number of steps: write pgd-20 for 20 steps",
    "pgd-0": "attack 'pgd-0' has no number of steps",
    "pgd-²": "has no number of steps",
    "pgd-" + "9" * 500: "has no number of steps",
    "pgd(loss='dlr')": "write pgd-20 for 20 steps, and in brackets: pgd(steps=20, loss='margin')",
    "pgd-20(steps=3)": "gives steps twice",
    "pgd(steps=3, steps=4)": "gives steps twice",
    "pgd(20)": "argument without a name: arguments go by name, as in pgd(steps=20)",
    "pgd(**{'steps': 3})": "has ** in it",
    "pgd(steps=3) #)": "more behind its arguments",
    "pgd(steps=3), f(x=3)": "more behind its arguments",
    "pgd(steps=x)": "is none of: a number, a fraction of two numbers as 2/255, a string in quotes",
    "pgd(steps=2**3)": "none of: a number",
    "pgd(steps=8/2/2)": "none of: a number",
    "pgd(steps=__import__('os').system('true'))": "none of: a number",
    "pgd(steps=2, step_size=2/0)": "divides 2 by zero",
    "pgd(steps=2, step_size=1e999)": "number that is too large",
    "pgd(steps=2, step_size=1e300/1e-300)": "number that is too large",
    f"pgd(steps={'9' * 30})": "number that is too large",
    "pgd-5(restarts=0)": "attack 'pgd-5(restarts=0)': restarts must be at least 1, got 0",
    "pgd-5(step_size=0.1, rel_step=0.1)": "are the same setting",
    "pgd(steps=True)": "steps must be a whole number, got True",
    "pgd-3(step_size=True)": "step_size must be positive, got True",
    "pgd-3(loss=3)": "unknown loss 3: known: ce, margin, dlr",
    "pgd-3(restart=3)": "pgd has no argument 'restart': did you mean 'restarts'",
    "fgsm(steps=3)": "fgsm takes no arguments, got steps",
    "pgd-3(threat=3)": "has no argument 'threat'",
    "torchattacks:cw": "torchattacks has no attack 'cw': did you mean 'CW'",
    "torchattacks:CW(step=3)": "torchattacks.CW has no argument 'step': did you mean 'steps'? its arguments:",
    "torchattacks:CW(name='x')": "take no name",
    "torchattacks:LGV": "torchattacks.LGV needs trainloader",
    "pgd(steps=\0)": "cannot be read",
    "pgd(steps=)": "cannot be read",
    "pgd(steps=" + "(" * 300 + ")" * 300 + ")": "cannot be read",
    "pgd(steps=" + "-" * 900 + "1)": "none of: a number",
    "pgd(steps=3" + " " * 10_000_000 + ")": "is no name with arguments in brackets",
}


@pytest.mark.parametrize("text", BAD, ids=lambda text: ascii(text[:40]))
def test_other_texts_are_refused(text):
    with pytest.raises(InputError, match=re.escape(BAD[text])) as raised:
        parse(text, THREAT)
    assert len(str(raised.value)) < 600


def test_nothing_is_evaluated(tmp_path):
    victim = tmp_path / "victim"
    with pytest.raises(InputError):
        parse(f"pgd(steps=open({str(victim)!r}, 'w'))", THREAT)
    assert not victim.exists()


names = st.sampled_from([*BUILDERS, "pgd-3", "torchattacks:CW", "torchattacks:Square", "", "x"])
words = st.sampled_from(
    [*"()=,'\"/-+*#\\[]{}. \n", "steps", "loss", "1", "2.5", "1e9", "None", "True", "'ce'", "f'", "lambda"]
)
texts = st.one_of(
    st.text(max_size=60),
    st.builds(lambda name, inside: f"{name}({inside})", names, st.text(max_size=40)),
    st.builds(lambda name, parts: f"{name}({''.join(parts)})", names, st.lists(words, max_size=12)),
)


@settings(max_examples=400, deadline=None)
@given(texts)
def test_any_text_names_an_attack_or_is_refused(text):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            attack = parse(text, THREAT)
        except InputError:
            return
        assert repr(parse(canonical(text), THREAT)) == repr(attack)
