"""Small dictionaries and files of codes for sampled certificates, and what an oracle counts on them."""

from fractions import Fraction

import numpy as np
import scipy.sparse
from support.cases.exact_cases import (
    columns_of,
    drawn_places,
    drawn_supports,
    exact_erc,
    lower_share,
    rows_suffice,
    topk_finds,
)

from expander_theory import (
    Dictionary,
    gaussian_dictionary,
    polynomial_mask,
    sign_dictionary,
    uniform_mask,
)
from expander_theory.certificates import certify_supports
from expander_theory.dictionaries import BlockDictionary, dense_gaussian_dictionary

FLAT = sign_dictionary(polynomial_mask(5, 4), seed=0)  # m = 20, n = 25: many ties, ERC exactly 1
DENSE = dense_gaussian_dictionary(7, 9, seed=1)


def blocks():
    masked = gaussian_dictionary(uniform_mask(8, 5, 2, seed=0), seed=0)
    return BlockDictionary(dense_gaussian_dictionary(8, 3, seed=0), masked)


def sampled(dictionary, goal="OMP", ks=None, **options):
    return certify_supports(dictionary, goal, ks, progress=False, **options)


def save_codes(path, codes):
    scipy.sparse.save_npz(path, scipy.sparse.csr_array(codes))
    return path


def ranked(codes, k):
    """The k columns of largest modulus of each code that has as many, ties to the lowest."""
    rows = [sorted(np.nonzero(code)[0].tolist(), key=lambda j, code=code: (-abs(code[j]), j)) for code in codes]
    return [sorted(row[:k]) for row in rows if len(row) >= k]


def holds(dictionary, goal, support, dynamic_range=Fraction(1)):
    if goal == "uniqueness":
        return rows_suffice(dictionary.mask, support)
    columns = columns_of(dictionary)
    if goal == "TopK encoder":
        return topk_finds(columns, support, dynamic_range)
    erc = exact_erc(columns, support)
    return erc is not None and erc < 1


def oracle_curve(certificate, dictionary, codes=None):
    claim, known, curve = certificate["claim"], {}, []
    for line in certificate["curve"]:
        k, samples = line["k"], claim["samples"]
        key = {"dictionary": dictionary.sha256, "goal": claim["goal"], "k": k}
        key |= {"dynamic_range": claim["dynamic_range"], "codes": claim["codes"]}
        if codes is None:
            supports = drawn_supports(key, dictionary.n, k, samples)
        else:
            rows = ranked(codes, k)
            supports = [rows[place] for place in drawn_places(key, len(rows), samples)]
        for support in map(tuple, supports):
            if support not in known:
                known[support] = holds(dictionary, claim["goal"], support, Fraction(claim["dynamic_range"] or 1))
        count = sum(known[tuple(support)] for support in supports)
        share = lower_share(count, samples, Fraction(claim["error"]))
        curve.append({"k": k, "certified": count, "share": f"{share // 10**6}.{share % 10**6:06}"})
    return curve


def zeros_on_the_mask():
    values = FLAT.values.copy()
    values[3, 1] = 0
    return Dictionary(FLAT.mask, values).normalised()
