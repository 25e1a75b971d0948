"""McNemar's test: whether two classifiers are right equally often, from the rows on which one alone is.

If they are, each such row is as likely the one's as the other's (Q. McNemar, Note on the Sampling Error of the
Difference between Correlated Proportions or Percentages, 1947).
"""

from __future__ import annotations

from fractions import Fraction

from raymaas.specs.reports import McNemar


def mcnemar(first_only: int, second_only: int) -> McNemar:
    """The two-sided binomial test of those rows, exact and mid-p.

    The exact one is conservative. The mid-p one counts half the chance of what was found, and rejects about as often as
    it says (M. Fagerland, S. Lydersen, P. Laake, The McNemar Test for Binary Matched-pairs Data: Mid-p and Asymptotic
    are better than Exact Conditional, 2013). Both are 1 when no row tells the two apart.
    """
    rows, fewer = first_only + second_only, min(first_only, second_only)
    ways, below = 1, 0  # of choosing `fewer` rows, and fewer than that
    for k in range(fewer):
        below, ways = below + ways, ways * (rows - k) // (k + 1)
    found = Fraction(ways, 2**rows)
    exact = min(Fraction(1), 2 * (Fraction(below, 2**rows) + found))
    mid = 1 - found / 2 if first_only == second_only and rows else exact - found
    return McNemar(
        first_only=first_only,
        second_only=second_only,
        exact_p=float(exact),
        mid_p=float(mid) if rows else 1.0,
    )
