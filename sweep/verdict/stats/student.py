"""Student's t distribution (Student 1908, Biometrika 6:1-25) with nothing but `math`.

Verdicts need little else of scipy, whose import alone takes longer than to judge a thousand trials. Both directions are
as exact as scipy's to ten digits, which is tested. Where more than this is asked for, scipy is taken.
"""

import functools
import math
from statistics import NormalDist

STEPS = 100  # of Newton's; two or three are taken
TERMS = 10_000  # of the continued fraction; about fifty are taken
TINY = 1e-300


def cdf(t: float, degrees: float) -> float:
    """Probability that Student's t is at most `t`; `degrees` of freedom > 0 need not be whole."""
    inside, outside = _shares(abs(t), degrees)
    return outside / 2 if t < 0 else 0.5 + inside / 2


@functools.lru_cache(maxsize=4096)
def quantile(probability: float, degrees: float) -> float:
    """The t at which `cdf` is `probability`.

    Newton's method between logarithms: both shares are nearly powers of t far out, and the inner one near zero.

    Raises:
        ValueError: the probability is not between 0 and 1, or the degrees are not positive.
    """
    if not (0 < probability < 1 and 0 < degrees < math.inf):
        raise ValueError(f"no quantile {probability} of Student's t with {degrees} degrees of freedom")
    if probability < 0.5:
        return -_upper(probability, degrees)
    return _upper(1 - probability, degrees) if probability > 0.5 else 0.0


def _upper(tail: float, degrees: float) -> float:
    """The t > 0 beyond which lies the share `tail` < 1/2."""
    is_far = tail < 0.25
    wanted = 2 * tail if is_far else 1 - 2 * tail
    log_t = math.log(_near(-NormalDist().inv_cdf(tail), degrees))
    for _ in range(STEPS):
        t = math.exp(log_t)
        inside, outside = _shares(t, degrees)
        share = outside if is_far else inside
        slope = 2 * t * _density(t, degrees) / share * (-1 if is_far else 1)
        step = math.log(wanted / share) / slope
        log_t += step
        if abs(step) < 1e-7:  # the next would be about its square
            break
    return math.exp(log_t)


def _near(z: float, degrees: float) -> float:
    """About the quantile, from the normal distribution's z > 0 (Abramowitz and Stegun 26.7.5); where that series is no
    good z itself, which is not beyond it: Student's t has the heavier tails."""
    if z * z > degrees:
        return z
    first, second = (z**3 + z) / 4, (5 * z**5 + 16 * z**3 + 3 * z) / 96
    return z + first / degrees + second / degrees**2


def _density(t: float, degrees: float) -> float:
    log_power = (degrees + 1) / 2 * math.log1p(t * t / degrees)
    return math.exp(_log_half(degrees / 2) - log_power) / math.sqrt(math.pi * degrees)


def _shares(t: float, degrees: float) -> tuple[float, float]:
    """How much lies within -t and t, and how much outside: regularised incomplete beta functions, DLMF 8.17.2."""
    a, square = degrees / 2, t * t
    if square == 0:
        return 0.0, 1.0
    x, y = 1 / (1 + square / degrees), 1 / (1 + degrees / square)  # finite for an infinite square, too
    front = math.exp(_log_half(a) - a * math.log1p(square / degrees)) * math.sqrt(y / math.pi)
    if x < (a + 1) / (a + 2.5):
        outside = front / a * _fraction(a, 0.5, x)
        return 1 - outside, outside
    inside = front / 0.5 * _fraction(0.5, a, y)
    return inside, 1 - inside


def _log_half(a: float) -> float:
    """log(gamma(a + 1/2) / gamma(a)); for large a by its series, where the difference would lose digits."""
    if a < 20:
        return math.lgamma(a + 0.5) - math.lgamma(a)
    return 0.5 * math.log(a) - 1 / (8 * a) + 1 / (192 * a**3) - 1 / (640 * a**5) + 17 / (14336 * a**7)


def _fraction(a: float, b: float, x: float) -> float:
    """The continued fraction of the incomplete beta function (DLMF 8.17.22), inverted, by the method of Lentz (1976,
    Applied Optics 15:668-671) as Thompson and Barnett changed it (1986, J. Computational Physics 64:490-509)."""
    c, d = 1.0, 1 / _off_zero(1 - (a + b) * x / (a + 1))
    fraction = d
    for m in range(1, TERMS):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        for term in (even, odd):
            d = 1 / _off_zero(1 + term * d)
            c = _off_zero(1 + term / c)
            fraction *= c * d
        if abs(c * d - 1) < 1e-15:
            break
    return fraction


def _off_zero(value: float) -> float:
    return value if abs(value) > TINY else TINY
