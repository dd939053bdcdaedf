"""The checker of sampled certificates: whatever is altered, with a new hash, is found by drawing and deciding."""

import copy
import json
from fractions import Fraction

import numpy as np
import pytest
from support.cases.exact_cases import columns_of, exact_erc, tied_matrices, unit
from support.cases.hand_certificates import rehashed, with_value
from support.cases.sampled_cases import DENSE, FLAT, blocks, holds, sampled, save_codes, zeros_on_the_mask

from expander_theory import DenseDictionary, Dictionary, InvalidArgument, Mask
from expander_theory.base.errors import InvalidFile
from expander_theory.certificates import check_certificate, check_sampled_certificate, is_sampled, write_certificate
from expander_theory.certificates._check.decide import Columns, omp_holds, range_holds, rows_hold
from expander_theory.certificates.check import InvalidCertificate
from expander_theory.commands.theory.check_certificate import CheckCertificate

GOALS = ("OMP", "TopK encoder", "uniqueness")
STATES = {goal: sampled(FLAT, goal, [1], samples=1)["claim"]["states"] for goal in GOALS}


def refusal(certificate, dictionary, codes=None):
    with pytest.raises(InvalidCertificate) as refused:
        check_sampled_certificate(certificate, dictionary, codes, progress=False)
    return str(refused.value)


def forged(certificate, *path_and_value):
    return rehashed(with_value(certificate, path_and_value[:-1], path_and_value[-1]))


@pytest.fixture(scope="module")
def codes(tmp_path_factory):
    rng = np.random.default_rng(0)
    values = np.where(rng.random((12, 25)) < 0.2, rng.integers(1, 3, (12, 25)), 0)
    return save_codes(tmp_path_factory.mktemp("codes") / "codes.npz", values)


OMP = sampled(FLAT, "OMP", [1, 3, 4], samples=60)
RANGE = sampled(FLAT, "TopK encoder", [1, 2], samples=60, dynamic_range=Fraction(3, 2))
UNIQUE = sampled(FLAT, "uniqueness", [2, 3], samples=60)


def test_lines_stand_between_none_and_all():
    """So that a count may be wrong on either side."""
    assert OMP["curve"][0]["certified"] == 60
    assert any(0 < line["certified"] < 60 for line in OMP["curve"])
    assert any(0 < line["certified"] < 60 for line in RANGE["curve"])
    assert any(0 < line["certified"] < 60 for line in UNIQUE["curve"])


@pytest.mark.parametrize("certificate", [OMP, RANGE, UNIQUE], ids=GOALS)
def test_counts_and_shares_are_computed_again(certificate):
    for place, line in enumerate(certificate["curve"]):
        count = line["certified"]
        for other in {count - 1, count + 1, 0, 60, 61, -1} - {count}:
            text = refusal(forged(certificate, "curve", place, "certified", other), FLAT)
            assert f"curve[{place}].certified: the certificate says {other}, the true value is {count}" in text
        millionths = int(line["share"].replace(".", ""))
        shares = [f"{(millionths + 1) / 10**6:.6f}", f"{abs(millionths - 1) / 10**6:.6f}", "1", "0.9", "", "1/2"]
        for other in (*shares, line["share"] + "0", line["share"][:-1]):
            text = refusal(forged(certificate, "curve", place, "share", other), FLAT)
            assert f"curve[{place}].share" in text


def test_a_share_that_fits_a_wrong_count_does_not_help():
    count = OMP["curve"][1]["certified"] + 1
    share = sampled(FLAT, "OMP", [1], samples=60)["curve"][0]["share"]
    altered = copy.deepcopy(OMP)
    altered["curve"][1] |= {"certified": 60, "share": share}
    assert "curve[1].certified: the certificate says 60" in refusal(rehashed(altered), FLAT)
    altered["curve"][1] |= {"certified": count}
    assert f"curve[1].certified: the certificate says {count}" in refusal(rehashed(altered), FLAT)


def test_lines_may_be_left_out_but_neither_repeated_nor_moved():
    """Each line is a statement of its own at its own confidence: a certificate with fewer is a true one."""
    for kept in ([0], [1], [2], [0, 2]):
        fewer = rehashed(OMP | {"curve": [OMP["curve"][i] for i in kept]})
        assert len(check_sampled_certificate(fewer, FLAT, progress=False)) == len(kept)
        assert fewer == sampled(FLAT, "OMP", [OMP["curve"][i]["k"] for i in kept], samples=60)
    assert "curve: is empty" in refusal(rehashed(OMP | {"curve": []}), FLAT)
    for order in ([0, 0], [1, 0], [0, 1, 1, 2]):
        text = refusal(rehashed(OMP | {"curve": [OMP["curve"][i] for i in order]}), FLAT)
        assert "].k: is" in text
    for k in (0, -1, 21):
        assert f"curve[0].k: is {k}" in refusal(forged(OMP, "curve", 0, "k", k), FLAT)
    assert "curve[1].k: is 3, must be above 3" in refusal(forged(OMP, "curve", 0, "k", 3), FLAT)
    assert "curve[2].k: is 21, must be above 3 and at most 20" in refusal(forged(OMP, "curve", 2, "k", 21), FLAT)


@pytest.mark.parametrize(
    ("place", "value", "named"),
    [
        (("curve", 1, "k"), 2, "curve[1].certified"),
        (("claim", "samples"), 61, "curve[0].certified"),
        (("claim", "samples"), 59, "curve[0].certified"),
        (("claim", "samples"), 0, "claim.samples"),
        (("claim", "samples"), 100_001, "claim.samples"),
        (("claim", "error"), "1/1000", "curve[0].share"),
        (("claim", "error"), "999999/1000000", "curve[0].share"),
        (("claim", "error"), "0", "claim.error"),
        (("claim", "error"), "1", "claim.error"),
        (("claim", "error"), "2/2000000", "claim.error"),
        (("claim", "error"), "0.000001", "claim.error"),
        (("claim", "states"), STATES["uniqueness"], "claim.states"),
        (("claim", "states"), "", "claim.states"),
        (("claim", "goal"), "uniqueness", "claim.states"),
        (("claim", "goal"), "l1", "claim.goal"),
        (("claim", "dynamic_range"), "1", "claim.dynamic_range"),
        (("claim", "codes"), "0" * 64, "claim.codes"),
        (("dictionary", "sha256"), "0" * 64, "dictionary.sha256"),
        (("dictionary", "kind"), "dense", "dictionary.kind"),
        (("dictionary", "m"), 21, "dictionary.m"),
        (("dictionary", "n"), 24, "dictionary.n"),
        (("version",), 2, "version"),
        (("format",), "expander-certificate", "not a sampled certificate"),
        (("claim", "seed"), 1, "claim.seed: is no field"),
        (("claim", "samples"), True, "claim.samples: is True, must be an integer"),
        (("claim", "samples"), 60.0, "claim.samples"),
        (("curve", 0, "certified"), "60", "curve[0].certified"),
        (("curve",), {}, "curve"),
    ],
)
def test_every_field_is_checked(place, value, named):
    altered = with_value(OMP, place, value)
    refusal(altered, FLAT)  # the hash
    assert named in refusal(rehashed(altered), FLAT)


def test_another_goal_is_another_claim():
    """Goal and sentence swapped together: other supports are drawn, and another property is decided."""
    for certificate, goal in ((OMP, "uniqueness"), (UNIQUE, "OMP")):
        swapped = copy.deepcopy(certificate)
        swapped["claim"] |= {"goal": goal, "states": STATES[goal]}
        assert "].certified" in refusal(rehashed(swapped), FLAT)  # at k = 3: 37 and 5 of 60
    swapped = copy.deepcopy(OMP)
    swapped["claim"] |= {"goal": "TopK encoder", "states": STATES["TopK encoder"]}
    assert "claim.dynamic_range: is null" in refusal(rehashed(swapped), FLAT)
    swapped["claim"]["dynamic_range"] = "1"
    assert "].certified" in refusal(rehashed(swapped), FLAT)


@pytest.mark.parametrize(
    ("text", "named"),
    [("1", "certified"), ("5", "certified"), ("1/2", "at least 1"), ("6/4", "lowest terms"), ("1.5", "rational"),
     ("-2", "rational"), ("3/0", "rational"), (None, "is null")],
)  # fmt: skip
def test_the_dynamic_range_is_part_of_the_claim(text, named):
    assert named in refusal(forged(RANGE, "claim", "dynamic_range", text), FLAT)


def test_another_dictionary_is_refused():
    nearly = FLAT.values.copy()
    nearly[0, 0] = np.nextafter(nearly[0, 0], 0)
    for other in (Dictionary(FLAT.mask, nearly), Dictionary(FLAT.mask, -FLAT.values), FLAT.astype(np.float32), DENSE):
        assert "dictionary.sha256" in refusal(OMP, other)
    dense = DenseDictionary(FLAT.to_dense().T)
    assert "dictionary.sha256" in refusal(OMP, dense)
    moved = forged(OMP, "dictionary", "sha256", dense.sha256)
    assert "dictionary.kind" in refusal(moved, dense)
    assert "].certified" in refusal(forged(moved, "dictionary", "kind", "dense"), dense)  # other supports
    with pytest.raises(InvalidArgument, match="dictionary"):
        check_sampled_certificate(OMP, np.zeros(3), progress=False)


def test_codes_are_part_of_the_claim(tmp_path, codes):
    certificate = sampled(FLAT, "OMP", [1, 3], samples=30, codes=codes)
    assert len(check_sampled_certificate(certificate, FLAT, codes, progress=False)) == 2
    assert "claim.codes: names the codes" in refusal(certificate, FLAT)
    assert "claim.codes: is null" in refusal(OMP, FLAT, codes)
    other = save_codes(tmp_path / "other.npz", np.eye(25))
    assert "claim.codes: the certificate says" in refusal(certificate, FLAT, other)
    altered = copy.deepcopy(certificate)
    altered["claim"]["codes"] = None
    assert "certified" in refusal(rehashed(altered), FLAT)
    from expander_theory.simulation import codes_hash, load_codes

    altered["claim"]["codes"] = codes_hash(load_codes(other))
    altered["curve"] = altered["curve"][:1]  # these codes have one nonzero
    altered = rehashed(altered)
    assert check_sampled_certificate(altered, FLAT, other, progress=False)[0].certified == 30  # true at k = 1
    altered["curve"][0]["k"] = 2
    assert "curve[0].k: is 2, must be above 0 and at most 1" in refusal(rehashed(altered), FLAT, other)
    with pytest.raises(InvalidFile, match="no such file"):
        check_sampled_certificate(certificate, FLAT, tmp_path / "none.npz", progress=False)


def test_what_a_goal_needs_is_looked_at():
    zeros, double = zeros_on_the_mask(), Dictionary(FLAT.mask, 2 * FLAT.values)
    certificate = copy.deepcopy(UNIQUE)
    certificate["dictionary"] |= {"sha256": zeros.sha256}
    assert "claim.goal: needs a full mask" in refusal(rehashed(certificate), zeros)
    dense = DenseDictionary(FLAT.to_dense().T)
    certificate["dictionary"] |= {"sha256": dense.sha256, "kind": "dense"}
    assert "claim.goal: needs a full mask" in refusal(rehashed(certificate), dense)
    for certificate in (OMP, RANGE):
        moved = forged(certificate, "dictionary", "sha256", double.sha256)
        assert "claim.goal: needs unit columns: column 0" in refusal(moved, double)


@pytest.mark.parametrize(
    ("square", "unit_"), [(1 + 2e-4 * 0.999, True), (1 - 2e-4 * 0.999, True), (1 + 2.001e-4, False)]
)
def test_unit_columns_are_those_within_two_in_ten_thousand(square, unit_):
    w = DenseDictionary(np.diag([1.0, np.sqrt(square), 1.0]))
    if not unit_:
        with pytest.raises(InvalidArgument, match="unit columns"):
            sampled(w, "OMP", [1])
        assert Columns(w).off_unit() == 1
        return
    certificate = sampled(w, "OMP", [1], samples=3)
    check_sampled_certificate(certificate, w, progress=False)


def test_files_that_are_no_sampled_certificate(tmp_path):
    path = tmp_path / "c.json"
    write_certificate(OMP, path)
    assert is_sampled(path)
    assert check_sampled_certificate(path, FLAT, progress=False)
    with pytest.raises(InvalidCertificate, match="a sampled certificate, which"):
        check_certificate(path, FLAT, progress=False)
    text = json.dumps(OMP)
    for content in ("", text[:50], text[:-1], "[]", "null", "1", text.replace('"samples": 60', '"samples": NaN'),
                    text.replace('"samples": 60', '"samples": 60, "samples": 60'),
                    text.replace('"samples": 60', f'"samples": {"9" * 5000}')):  # fmt: skip
        path.write_text(content)
        assert str(path) in refusal(path, FLAT)
    assert not is_sampled(tmp_path / "none.json")
    for given in (None, 5, b"bytes", [1]):
        with pytest.raises((InvalidArgument, InvalidCertificate)):
            check_sampled_certificate(given, FLAT, progress=False)
    for key in (None, 5, ("a",)):
        refusal({**OMP, key: 1}, FLAT)


def test_supports_are_decided_as_rationals_decide():
    seen = set()
    for seed in range(2):
        rng = np.random.default_rng(seed)
        for i, matrix in enumerate(tied_matrices(seed + 20, 120)):
            w = DenseDictionary(unit(matrix).T.astype(np.float32 if i % 3 == 0 else np.float64))
            columns = Columns(w)
            k = int(rng.integers(1, min(w.m, w.n, 4) + 1))
            support = sorted(rng.choice(w.n, k, replace=False).tolist())
            erc = exact_erc(columns_of(w), support)
            expected = erc is not None and erc < 1
            assert omp_holds(columns, support) == expected
            seen.add("rank" if erc is None else "one" if erc == 1 else expected)
            if k < w.n and k < 4:
                dynamic_range = Fraction(int(rng.integers(2, 5)), 2)
                assert range_holds(columns, support, dynamic_range) == holds(w, "TopK encoder", support, dynamic_range)
    assert seen == {"rank", "one", True, False}


def test_masked_supports_are_decided_as_rationals_decide():
    rng = np.random.default_rng(5)
    counts = {goal: 0 for goal in GOALS}
    for i in range(60):
        m, d, n = int(rng.integers(4, 10)), int(rng.integers(1, 4)), int(rng.integers(2, 9))
        rows = np.array([np.sort(rng.choice(m, d, replace=False)) for _ in range(n)], np.int32)
        values = rng.choice([-1.0, 1.0], (n, d)) if i % 2 else rng.standard_normal((n, d)) + 0.1
        w = Dictionary(Mask(m, rows), values).normalised()
        k = int(rng.integers(1, min(m, n - 1, 4) + 1))
        support = sorted(rng.choice(n, k, replace=False).tolist())
        columns = Columns(w)
        found = {
            "OMP": omp_holds(columns, support),
            "TopK encoder": range_holds(columns, support, Fraction(3, 2)),
            "uniqueness": rows_hold(columns, support),
        }
        for goal, held in found.items():
            assert held == holds(w, goal, support, Fraction(3, 2)), (goal, rows, values, support)
            counts[goal] += held
    assert all(5 < count < 55 for count in counts.values())


def test_subnormal_entries_are_not_lost():
    """ERC of the first column alone is 1/(1 + 2^-2148)."""
    w = DenseDictionary(np.array([[1.0, 5e-324], [1.0, 0.0]]))
    assert exact_erc(columns_of(w), [0]) < 1
    assert omp_holds(Columns(w), [0])
    certificate = sampled(w, ks=[1], samples=20)
    check_sampled_certificate(certificate, w, progress=False)


def test_whatever_is_written_can_be_read():
    certificate = sampled(DENSE, ks=[1], samples=3, error=Fraction(10**200 + 1, 10**299))
    check_sampled_certificate(certificate, DENSE, progress=False)
    with pytest.raises(InvalidArgument, match="at most 300 digits"):
        sampled(DENSE, ks=[1], samples=3, error=Fraction(10**1100 + 1, 10**1200))


def test_the_command(tmp_path, capsys, codes):
    out, weights = tmp_path / "c.json", tmp_path / "w.safetensors"
    FLAT.save(weights)
    write_certificate(OMP, out)
    CheckCertificate(out, weights).run()
    shown = capsys.readouterr().out
    assert "60/60" in shown
    assert "the certificate holds: every support was drawn and decided again" in shown
    write_certificate(forged(OMP, "curve", 1, "certified", 60), out)
    with pytest.raises(InvalidCertificate, match=r"curve\[1\].certified"):
        CheckCertificate(out, weights).run()
    write_certificate(sampled(FLAT, "uniqueness", [1], samples=9, codes=codes), out)
    CheckCertificate(out, weights, codes=codes).run()
    with pytest.raises(InvalidCertificate, match="have to be given"):
        CheckCertificate(out, weights).run()
    np.save(tmp_path / "w.npy", blocks().to_dense())
    write_certificate(sampled(blocks().to_dense(), ks=[1], samples=9), out)
    CheckCertificate(out, tmp_path / "w.npy").run()
    from support.cases.certificate_cases import prove

    write_certificate(prove(FLAT), out)
    with pytest.raises(InvalidArgument, match="goes with sampled certificates"):
        CheckCertificate(out, weights, codes=codes).run()
