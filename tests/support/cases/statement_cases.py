"""The statements of section D, of probabilities, trials and curves by id, and whether an instance refutes one."""

from expander_theory import Mask
from expander_theory.theorems._statements import curves, l0_decoding, probability, trials

MODULES = (l0_decoding, probability, trials, curves)
KNOWN = {v.id: v for module in MODULES for s in module.STATEMENTS for v in (s, *s.mutants)}
COMPLETE_4 = Mask.from_columns(6, [[0, 1, 2], [0, 3, 4], [1, 3, 5], [2, 4, 5]])


def holds(name, instance):
    found = KNOWN[name].evaluate(instance)
    assert found.met, (name, found)
    assert found.conclusion.met, (name, found)


def refuted_by(name, instance):
    assert KNOWN[name].wrong
    assert KNOWN[name].evaluate(instance).violated
