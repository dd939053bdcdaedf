"""Sampled certificates: drawn as the page says, decided as rationals decide, and never more than is proved."""

import json
from fractions import Fraction

import numpy as np
import pytest
import scipy.sparse
from scipy.stats import beta
from support.cases.exact_cases import columns_of, exact_erc, lower_share, tied_matrices, unit
from support.cases.sampled_cases import (
    DENSE,
    FLAT,
    blocks,
    holds,
    oracle_curve,
    sampled,
    save_codes,
    zeros_on_the_mask,
)

from expander_theory import DenseDictionary, Dictionary, InvalidArgument, Mask, gaussian_dictionary, uniform_mask
from expander_theory.base.errors import InvalidFile
from expander_theory.certificates import check_sampled_certificate, is_sampled
from expander_theory.certificates._check.sampled import share_of
from expander_theory.certificates._prove.drawing import supports_of
from expander_theory.certificates._prove.shares import proved_share
from expander_theory.certificates._prove.supports import found_by_topk, recovered_by_omp
from expander_theory.certificates.sampled import growing
from expander_theory.commands.theory.certify import Certify

PARTLY = gaussian_dictionary(uniform_mask(12, 10, 3, seed=4), seed=4)
MILLIONTH = Fraction(1, 10**6)


def decided(decide, support):
    return bool(decide(np.array([support], np.int64))[0])


@pytest.mark.parametrize(
    ("dictionary", "goal", "ks", "options"),
    [
        (FLAT, "OMP", [1, 2, 3, 4, 6], {}),
        (FLAT, "uniqueness", [1, 2, 3, 5], {}),
        (FLAT, "TopK encoder", [1, 2, 3], {"dynamic_range": Fraction(3, 2)}),
        (PARTLY, "OMP", [1, 2, 3], {}),
        (PARTLY, "uniqueness", [1, 2, 3], {}),
        (PARTLY, "TopK encoder", [1, 2], {"dynamic_range": 2}),
        (PARTLY.astype(np.float32).normalised(), "OMP", [2], {}),
        (DENSE, "OMP", [1, 2, 7], {"error": Fraction(1, 20)}),
        (DENSE, "TopK encoder", [1, 2], {}),
        (blocks(), "OMP", [1, 2], {}),
        (blocks(), "TopK encoder", [1, 2], {"dynamic_range": Fraction(3, 2)}),
    ],
)
def test_counts_are_those_of_an_oracle_and_the_checker_agrees(dictionary, goal, ks, options):
    certificate = sampled(dictionary, goal, ks, samples=40, **options)
    assert certificate["curve"] == oracle_curve(certificate, dictionary)
    checked = check_sampled_certificate(certificate, dictionary, progress=False)
    told = [{"k": line.k, "certified": line.certified, "share": str(line.share)} for line in checked]
    assert told == [line | {"share": str(Fraction(line["share"]))} for line in certificate["curve"]]
    assert json.loads(json.dumps(certificate)) == certificate
    assert certificate == sampled(dictionary, goal, ks, samples=40, **options)


def test_numpy_and_scipy_matrices_are_taken():
    matrix = FLAT.to_dense()
    assert sampled(matrix, ks=[2], samples=9) == sampled(DenseDictionary(matrix.T), ks=[2], samples=9)
    assert sampled(scipy.sparse.csr_array(matrix), ks=[2], samples=9)["dictionary"]["kind"] == "masked"


def test_the_first_supports_are_always_the_same():
    certificates = [sampled(FLAT, ks=[3], samples=t) for t in range(20, 41)]
    counts = [c["curve"][0]["certified"] for c in certificates]
    assert set(np.diff(counts)) == {0, 1}
    key = {"dictionary": "x", "goal": "OMP", "dynamic_range": None, "codes": None, "k": 3}
    assert supports_of(key, 10, 3, 7).tolist() == supports_of(key, 10, 3, 500)[:7].tolist()
    drawn = supports_of(key, 5, 3, 5000)
    assert (np.diff(drawn) > 0).all()
    counts = np.unique(drawn @ [100, 10, 1], return_counts=True)[1]
    assert counts.size == 10
    assert abs(counts - 500).max() < 110  # 5 standard deviations
    assert supports_of(key, 3, 3, 2).tolist() == [[0, 1, 2]] * 2
    assert supports_of(key, 1, 1, 2).tolist() == [[0]] * 2


@pytest.mark.parametrize("goal", ["OMP", "TopK encoder", "uniqueness"])
def test_codes_are_drawn_from_a_file(tmp_path, goal):
    rng = np.random.default_rng(0)
    codes = np.where(rng.random((9, 25)) < 0.15, rng.integers(-2, 3, (9, 25)), 0).astype(np.float32)
    codes[0], codes[1, :3] = 0, [1, -1, 1]
    path = save_codes(tmp_path / "codes.npz", codes)
    certificate = sampled(FLAT, goal, [1, 2, 3], samples=30, codes=path)
    assert certificate["curve"] == oracle_curve(certificate, FLAT, codes)
    assert len(check_sampled_certificate(certificate, FLAT, path, progress=False)) == 3
    other = sampled(FLAT, goal, [1, 2, 3], samples=30)
    assert certificate["claim"]["codes"] is not other["claim"]["codes"] is None
    fullest = int((codes != 0).sum(axis=1).max())
    with pytest.raises(InvalidArgument, match=f"ks.*1..{fullest}"):
        sampled(FLAT, goal, [fullest + 1], codes=path)
    assert sampled(FLAT, goal, samples=5, codes=path)["curve"][-1]["k"] <= fullest


def test_codes_that_do_not_fit_or_cannot_be_read_are_named(tmp_path):
    with pytest.raises(InvalidArgument, match="n = 4"):
        sampled(FLAT, ks=[1], codes=save_codes(tmp_path / "c.npz", np.eye(4)))
    with pytest.raises(InvalidFile, match="nonzero"):
        sampled(FLAT, ks=[1], codes=save_codes(tmp_path / "z.npz", np.zeros((2, 25))))
    with pytest.raises(InvalidFile, match="no such file"):
        sampled(FLAT, ks=[1], codes=tmp_path / "none.npz")


def test_every_goal_is_decided_as_rationals_decide():
    """Matrices in which much is equal: ERC exactly 1, copies of columns, products that are almost equal."""
    seen = set()
    for seed in range(2):
        rng = np.random.default_rng(seed)
        for i, matrix in enumerate(tied_matrices(seed + 10, 120)):
            w = DenseDictionary(unit(matrix).T.astype(np.float32 if i % 3 == 0 else np.float64))
            k = int(rng.integers(1, min(w.m, w.n, 4) + 1))
            support = sorted(rng.choice(w.n, k, replace=False).tolist())
            erc = exact_erc(columns_of(w), support)
            expected = erc is not None and erc < 1
            assert decided(recovered_by_omp(w), support) == expected
            seen.add("rank" if erc is None else "one" if erc == 1 else expected)
            if k < w.n and k < 4:
                dynamic_range = Fraction(int(rng.integers(2, 5)), 2)
                expected = holds(w, "TopK encoder", support, dynamic_range)
                assert decided(found_by_topk(w, dynamic_range), support) == expected
    assert seen == {"rank", "one", True, False}


def test_an_exact_recovery_coefficient_of_one_is_not_certified():
    """Columns (1, 1, 0, 0), (0, 0, 1, 1), (1, 0, 1, 0) over sqrt 2: ERC of the first two is 1, whatever floats say."""
    rows = np.array([[0, 1], [2, 3], [0, 2], [1, 3]])
    for value in (2**-0.5, np.nextafter(2**-0.5, 1), np.float32(2**-0.5)):
        w = Dictionary(Mask(4, rows), np.full((4, 2), value))
        assert exact_erc(columns_of(w), [0, 1]) == 1
        assert not decided(recovered_by_omp(w), [0, 1])
        assert not decided(recovered_by_omp(DenseDictionary(w.to_dense().T)), [0, 1])
        assert sampled(w, ks=[1], samples=5)["curve"][0]["certified"] == 5
    nearly = w.values.astype(float).copy()
    nearly[2:] *= 1 - 1e-15  # just below 1, in doubles
    w = Dictionary(Mask(4, rows), nearly)
    assert exact_erc(columns_of(w), [0, 1]) < 1
    assert decided(recovered_by_omp(w), [0, 1])


def test_a_dynamic_range_of_many_digits_is_decided_exactly():
    """Orthogonal columns but one: at range 1 the margin of a code of two columns is 1/5, at exactly 3/2 it is 0."""
    w = DenseDictionary(np.array([[1.0, 0, 0], [0, 1, 0], [0.4, 0.4, np.sqrt(0.68)]]))
    columns = columns_of(w)
    edge = (1 - columns[2][0]) / columns[2][1]
    tiny = Fraction(1, 10**60)
    for dynamic_range, expected in ((edge - tiny, True), (edge, False), (edge + tiny, False)):
        assert decided(found_by_topk(w, dynamic_range), [0, 1]) == expected
        assert holds(w, "TopK encoder", [0, 1], dynamic_range) == expected
        certificate = sampled(w, "TopK encoder", [2], samples=20, dynamic_range=dynamic_range)
        assert certificate["curve"] == oracle_curve(certificate, w)
        check_sampled_certificate(certificate, w, progress=False)


@pytest.mark.parametrize(
    ("count", "samples", "error"),
    [(0, 5, MILLIONTH), (1, 1, MILLIONTH), (1, 1, Fraction(999, 1000)), (5, 5, Fraction(1, 2)), (1, 40, MILLIONTH),
     (39, 40, Fraction(1, 10**30)), (20, 40, Fraction(19, 20)), (7, 9, Fraction(1, 3))],
)  # fmt: skip
def test_shares_are_the_exact_lower_limits_of_clopper_and_pearson(count, samples, error):
    share = proved_share(count, samples, error)
    assert share == lower_share(count, samples, error)
    assert share_of(count, samples, error) == f"{share // 10**6}.{share % 10**6:06}"
    if count:
        assert 0 <= beta.ppf(float(error), count, samples - count + 1) * 10**6 - share <= 1 + 1e-6


def test_shares_of_many_samples():
    for count, share in ((2000, 993116), (1999, 991688), (1000, 446763), (1, 0)):
        assert proved_share(count, 2000, MILLIONTH) == share
        assert int(beta.ppf(1e-6, count, 2001 - count) * 10**6) == share
        assert share_of(count, 2000, MILLIONTH) == f"0.{share:06}"
    shares = [proved_share(count, 30, MILLIONTH) for count in range(31)]
    assert shares == sorted(shares)


def test_shares_at_errors_below_the_floats_take_no_longer(monkeypatch):
    from expander_theory.certificates._prove import shares

    tried, decide = [], shares._tail_at_most
    monkeypatch.setattr(shares, "_tail_at_most", lambda *a: tried.append(a) or len(tried) > 200 or decide(*a))
    assert proved_share(2000, 2000, Fraction(1, 10**400)) == 630957  # 10^(-400/2000)
    assert len(tried) < 100


def test_growing_sparsities():
    assert list(growing(26)) == [1, 2, 3, 4, 6, 8, 11, 15, 22, 25]
    assert list(growing(0)) == []
    assert all(a < b for a, b in zip(list(growing(5000)), list(growing(5000))[1:], strict=False))
    curve = sampled(FLAT, samples=40)["curve"]
    assert [line["k"] for line in curve] == list(growing(25))[: len(curve)]
    assert all(20 * line["certified"] >= 40 for line in curve[:-1])
    assert 20 * curve[-1]["certified"] < 40


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"goal": "l1"}, "goal"),
        ({"ks": []}, "ks"),
        ({"ks": [2, 1]}, "ks"),
        ({"ks": [1, 1]}, "ks"),
        ({"ks": [0]}, "ks"),
        ({"ks": [21]}, "1..20"),
        ({"ks": [1.5]}, "ks"),
        ({"samples": 0}, "samples"),
        ({"samples": 100_001}, "samples"),
        ({"samples": 1.5}, "samples"),
        ({"error": 1e-6}, "error"),
        ({"error": Fraction(0)}, "error"),
        ({"error": Fraction(1)}, "error"),
        ({"dynamic_range": Fraction(2)}, "dynamic_range"),
        ({"goal": "TopK encoder", "dynamic_range": Fraction(1, 2)}, "dynamic_range"),
        ({"goal": "TopK encoder", "dynamic_range": 1.5}, "dynamic_range"),
    ],
)
def test_wrong_arguments_are_named(arguments, named):
    with pytest.raises(InvalidArgument, match=named):
        sampled(FLAT, **({"ks": [1], "samples": 3} | arguments))


def test_what_a_goal_is_not_about_is_refused():
    with pytest.raises(InvalidArgument, match="IDN-5"):
        sampled(DENSE, "uniqueness", [1])
    with pytest.raises(InvalidArgument, match="zero entries"):
        sampled(zeros_on_the_mask(), "uniqueness", [1])
    for goal in ("OMP", "TopK encoder"):
        with pytest.raises(InvalidArgument, match="unit columns"):
            sampled(DenseDictionary(2 * DENSE.columns), goal, [1])
        assert sampled(zeros_on_the_mask(), goal, [1], samples=5)["curve"]
    assert sampled(Dictionary(FLAT.mask, 2 * FLAT.values), "uniqueness", [1], samples=5)["curve"]


def test_the_ends_of_k():
    square = DenseDictionary(np.eye(3))
    assert sampled(square, ks=[1, 2, 3], samples=6)["curve"][2]["certified"] == 6
    with pytest.raises(InvalidArgument, match=r"1\.\.2"):
        sampled(square, "TopK encoder", [3])
    copies = DenseDictionary(np.eye(3)[[0, 1, 1]])
    certificate = sampled(copies, ks=[3], samples=6)
    assert certificate["curve"] == [{"k": 3, "certified": 0, "share": "0.000000"}]  # no column outside, rank 2
    check_sampled_certificate(certificate, copies, progress=False)


def test_one_column_has_no_curve_for_the_encoder():
    with pytest.raises(InvalidArgument, match="at least two columns"):
        sampled(np.ones((1, 1)), "TopK encoder")


def test_a_dynamic_range_beyond_the_floats_is_refused():
    with pytest.raises(InvalidArgument, match="at most 300 digits"):
        sampled(FLAT, "TopK encoder", [1], samples=3, dynamic_range=Fraction(10**400 + 1, 10**400))


def test_the_command(tmp_path, capsys):
    np.save(tmp_path / "w.npy", DENSE.to_dense())
    out = tmp_path / "c.json"
    Certify(tmp_path / "w.npy", out, sampled="topk", k=(1, 2), samples=30, dynamic_range="3/2").run()
    shown = capsys.readouterr().out
    assert json.loads(out.read_text()) == sampled(
        DENSE, "TopK encoder", [1, 2], samples=30, dynamic_range=Fraction(3, 2)
    )
    assert "/30" in shown
    assert "the tied TopK encoder finds support and signs of every code on the support" in shown
    assert is_sampled(out)
    codes = save_codes(tmp_path / "codes.npz", np.eye(25))
    FLAT.save(tmp_path / "flat")
    Certify(tmp_path / "flat", out, sampled="uniqueness", samples=30, codes=codes, force=True).run()
    assert json.loads(out.read_text()) == sampled(FLAT, "uniqueness", samples=30, codes=codes)
    for wrong in ({"k": (1,)}, {"codes": codes}):
        with pytest.raises(InvalidArgument, match="goes with --sampled"):
            Certify(tmp_path / "flat", tmp_path / "new.json", **wrong).run()
    with pytest.raises(InvalidFile, match="--force"):
        Certify(tmp_path / "flat", out, sampled="omp").run()
