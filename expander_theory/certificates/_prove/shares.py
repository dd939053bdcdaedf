"""What a count of successes in independent trials proves of their probability (SAMPLED.md: share)."""

from __future__ import annotations

import math
from fractions import Fraction

from scipy.special import betaincinv

MILLION = 10**6


def proved_share(count: int, trials: int, error: Fraction) -> int:
    """The largest a with P(Bin(trials, a / 10^6) >= count) <= error: the lower limit of Clopper and Pearson, in
    millionths, exactly."""
    if count == 0:
        return 0
    low, high = 0, MILLION + 1  # at ``low`` the tail is at most the error, at ``high`` it is not
    guess = float(betaincinv(count, trials - count + 1, float(error)))
    for end in (math.floor(guess * MILLION) - 1, math.ceil(guess * MILLION) + 1):  # close, where floats can tell
        if low < end < high:
            low, high = (end, high) if _tail_at_most(count, trials, end, error) else (low, end)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if _tail_at_most(count, trials, middle, error) else (low, middle)
    return low


def _tail_at_most(count: int, trials: int, a: int, error: Fraction) -> bool:
    """Whether P(Bin(trials, a / 10^6) >= count) <= error, 0 < a, in integers: all over (10^6)^trials."""
    b, whole = MILLION - a, MILLION**trials
    if b == 0:
        return error >= 1
    # Terms C(trials, i) a^i b^(trials - i), each from the one before; those of the shorter side are added.
    if trials - count < count:
        term, tail = a**trials, 0
        for i in range(trials, count - 1, -1):
            tail += term
            term = term * i * b // ((trials - i + 1) * a)
    else:
        term, tail = b**trials, whole
        for i in range(count):
            tail -= term
            term = term * (trials - i) * a // ((i + 1) * b)
    return tail * error.denominator <= error.numerator * whole
