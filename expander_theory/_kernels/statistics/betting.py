"""Capital of two gamblers, one against "the mean is at most 1/2", one against "at least 1/2", in one pass."""

import numpy as np

from expander_theory.base import njit


@njit(cache=True)
def one_sided_capitals(values, prior, most):
    """(log K_up, log K_down) after betting on y = 2 values - 1, in [-1, 1], one after another.

    Before each value the bet is y's mean so far over its mean square, shrunk by ``prior`` values of 1/2 and limited
    to ``most``: sum y / (prior + sum y^2). Positive bets are the up gambler's, negative ones the down gambler's;
    the other one sits out. Under its hypothesis each capital is a supermartingale that starts at 1.
    """
    up = down = total = squares = 0.0
    for value in values:
        y = 2 * value - 1
        # The bet is made before y is seen: that makes the capital a supermartingale.
        bet = min(most, max(-most, total / (prior + squares)))
        # Capital is multiplied by 1 + bet y.
        if bet > 0:
            up += np.log1p(bet * y)
        else:
            down += np.log1p(bet * y)
        total += y
        squares += y * y
    return up, down
