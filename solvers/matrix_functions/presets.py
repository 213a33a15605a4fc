"""Schedules that others publish, by name, as they are: their traps included, and said."""

from __future__ import annotations

import math
import operator
from dataclasses import dataclass

from ...errors import InputError
from ...naming import choice
from .schedule import Schedule

__all__ = ["PRESETS", "Preset", "preset", "presets", "published"]

Steps = tuple[tuple[float, ...], ...]
QUINTIC = (15 / 8, -5 / 4, 3 / 8)


@dataclass(frozen=True)
class Preset:
    """A published schedule.

    Parameters
    ----------
    coefficients : tuple of tuples of float
        The steps as published.
    tail : tuple of float, optional
        The step that follows when more are asked for; without it there are no more.
    source : str
        Where it was read.
    note : str
        What to know before using it.
    flips_signs : bool
        Whether the composite is negative somewhere on (0, 1].
    """

    coefficients: Steps
    source: str
    note: str
    tail: tuple[float, ...] | None = None
    flips_signs: bool = False


YOU: Steps = (
    (4.0848, -6.8946, 2.9270),
    (3.9505, -6.3029, 2.6377),
    (3.7418, -5.5913, 2.3037),
    (2.8769, -3.1427, 1.2046),
    (2.8366, -3.0525, 1.2012),
)
MUON = (3.4445, -4.7750, 2.0315)

PRESETS: dict[str, Preset] = {
    "classical": Preset(
        ((1.5, -0.5),) * 5,
        "Newton-Schulz; Higham, Functions of Matrices, section 8.3",
        "Order 2, from below sqrt(3). Small values grow by 1.5 a step: from 1e-3 on it takes 18 steps to 0.1.",
        (1.5, -0.5),
    ),
    "taylor": Preset(
        (QUINTIC,) * 5,
        "the [2/0] Padé approximant; Kenney and Laub 1991",
        "Order 3; small values grow by 1.875 a step.",
        QUINTIC,
    ),
    "septic": Preset(
        ((35 / 16, -35 / 16, 21 / 16, -5 / 16),) * 5,
        "the [3/0] Padé approximant",
        "Order 4; small values grow by 2.19 a step, for 4 products.",
        (35 / 16, -35 / 16, 21 / 16, -5 / 16),
    ),
    "muon": Preset(
        (MUON,) * 5,
        "KellerJordan/Muon, torch.optim.Muon",
        "Never converges: the coefficients sum to 0.701. Values end between 0.68 and 1.14, small ones at up to 1.203.",
        MUON,
    ),
    "su": Preset(
        ((3.3748, -4.6969, 2.1433),) * 5,
        "J. Su, kexue.fm 10922",
        "Never converges: values end between 0.82 and 1.19.",
        (3.3748, -4.6969, 2.1433),
    ),
    "modula": Preset(
        ((3.0, -16 / 5, 6 / 5),) * 5,
        "modula-systems/modula",
        "Converges to one, but f'(1) = -0.6: the error is only multiplied by 0.6 a step in the end.",
        (3.0, -16 / 5, 6 / 5),
    ),
    "you": Preset(
        YOU,
        "J. You, KellerJordan/modded-nanogpt",
        "Found by gradient descent. Ends within 0.03 of one from 0.01 on, but at half of it from 1e-3.",
    ),
    "you6": Preset(
        tuple(
            (a / 1024, b / 1024, c / 1024)
            for a, b, c in (
                (3955, -8306, 5008),
                (3735, -6681, 3463),
                (3799, -6499, 3211),
                (4019, -6385, 2906),
                (2677, -3029, 1162),
                (2172, -1833, 682),
            )
        ),
        "J. You, KellerJordan/modded-nanogpt",
        "As that of five steps; it diverges for values above 1.083.",
    ),
    "polar-express": Preset(
        (
            (8.156554524902461, -22.48329292557795, 15.878769915207462),
            (4.042929935166739, -2.808917465908714, 0.5000178451051316),
            (3.8916678022926607, -2.772484153217685, 0.5060648178503393),
            (3.285753657755655, -2.3681294933425376, 0.46449024233003106),
            (2.3465413258596377, -1.7097828382687081, 0.42323551169305323),
        ),
        "arXiv:2505.16932 for lower = 1e-3, cushion 0.02 and safety 1.02; nanochat, modded-nanogpt, dion",
        "There is no one list: paper, appendix and repository differ in cushion and safety, and copies circulate with "
        "rows 4 and 5 of the list without cushion. Values above 1.0218 diverge.",
        QUINTIC,
    ),
    "polar-express-8": Preset(
        (
            (8.28721201814563, -23.595886519098837, 17.300387312530933),
            (4.107059111542203, -2.9478499167379106, 0.5448431082926601),
            (3.9486908534822946, -2.908902115962949, 0.5518191394370137),
            (3.3184196573706015, -2.488488024314874, 0.51004894012372),
            (2.300652019954817, -1.6689039845749493, 0.4188073119525673),
            (1.891301407787398, -1.2679958271945868, 0.37680408948524835),
            (1.8750014808534479, -1.2500016453999487, 0.3750001645474248),
            QUINTIC,
        ),
        "arXiv:2505.16932 for lower = 1e-3 and cushion 0.024, without safety",
        "Values above one diverge: the users' code divides the first rows by powers of 1.01 or more.",
        QUINTIC,
    ),
    "turbo": Preset(
        YOU[1:],
        "Turbo-Muon, arXiv:2512.04632",
        "The last four of You's steps, for rows scaled as in almost orthogonal layers. That scaling, not the steps, is "
        "biased: it changes the polar factor, and no number of steps mends it.",
    ),
    "turbo-genetic": Preset(
        (
            (4.6051, -9.6552, 5.6769),
            (4.7505, -6.0861, 2.1790),
            (2.7763, -2.3190, 0.5523),
            (2.4231, -2.2861, 0.8193),
        ),
        "an earlier Turbo-Muon, microsoft/dion",
        "Found by a genetic search. Ends within 0.06 of one from 0.01 on.",
    ),
    "aol": Preset(
        (
            (4.0098, -7.0585, 2.4635),
            (3.4585, -5.5479, 2.5959),
            (2.7573, -3.2939, 1.4254),
            (2.7215, -3.0494, 1.3169),
        ),
        "an earlier Turbo-Muon, NVIDIA-NeMo/Emerging-Optimizers",
        "Returns the wrong sign for values above 0.88: its first polynomial is negative there.",
        flips_signs=True,
    ),
    "cans": Preset(
        (
            (8.420293602126344, -24.910491192120688, 18.472094206318726),
            (4.101228661246281, -3.0518555467946813, 0.5741241025302702),
            (3.6809819251109155, -2.75396502307162, 0.5401902781108926),
            (2.7280916801566666, -2.0315492757300913, 0.45866431681858805),
        ),
        "arXiv:2506.10935, for values within 0.3 of one",
        "Pure minimax: values above one diverge, and in bfloat16 rounding alone makes it fail.",
    ),
    "cubic5": Preset(
        (
            (3.3656576, -3.3420992),
            (2.5744352, -1.4957376),
            (2.5368962, -1.4312570),
            (2.4418906, -1.2764040),
            (2.2230472, -0.9630650),
        ),
        "arXiv:2606.00371",
        "Within 0.3 of one from 7e-3 on, in 10 products. Values above 1.0035 lose their sign.",
    ),
    "deepseek": Preset(
        (MUON,) * 8 + ((2.0, -1.5, 0.5),) * 2,
        "DeepSeek-V4",
        "Eight of Muon's steps and two of order 2: within 0.002 of one from 1e-4 on, in 30 products.",
        (2.0, -1.5, 0.5),
    ),
}


def presets() -> tuple[str, ...]:
    """The names that :func:`preset` knows.

    Examples
    --------
    >>> import resolvent as rv
    >>> rv.newton_schulz.presets()[:4]
    ('classical', 'taylor', 'septic', 'muon')
    """
    return tuple(PRESETS)


def preset(
    name: str,
    steps: int | None = None,
    *,
    lower: float = 1e-3,
    upper: float = 1.0,
    allow_sign_flip: bool = False,
) -> Schedule:
    """A published schedule.

    Parameters
    ----------
    name : str
        One of :func:`presets`.
    steps : int, optional
        Without it as many as published. Fewer are the first ones; more are to be had where one polynomial is repeated.
    lower, upper : float
        The interval that ``error_bound`` is for; the polynomials do not depend on it.
    allow_sign_flip : bool
        Whether a schedule may be had that returns some singular values with the wrong sign.

    Returns
    -------
    Schedule

    Raises
    ------
    InputError
        For an unknown name, more steps than there are, and a schedule that flips signs without leave.

    Examples
    --------
    >>> import resolvent as rv
    >>> print(rv.newton_schulz.preset("muon", lower=0.1))
    muon schedule: degrees 5, 5, 5, 5, 5, 15 products, [0.1, 1] to within 0.318 of one
    """
    if not isinstance(name, str):
        raise TypeError(f"name: found {type(name).__name__}; wanted the name of a preset, such as 'muon'")
    if not (0 < lower <= upper < math.inf):
        raise InputError(f"lower: found {lower:g}; wanted a number from above 0 to upper, {upper:g}")
    known = published(name, "name", allow_sign_flip)
    return Schedule(_of_length(name, known, steps), float(lower), float(upper), name=name)


def published(name: str, argument: str, allow_sign_flip: bool = False) -> Preset:
    """The row of a name that some argument gave; an error for an unknown one, and for one that flips signs.

    Examples
    --------
    >>> from resolvent.solvers.matrix_functions.presets import published
    >>> published("muon", "schedule").tail
    (3.4445, -4.775, 2.0315)
    """
    name = choice(argument, name, PRESETS)
    known = PRESETS[name]
    if known.flips_signs and not allow_sign_flip:
        raise InputError(
            f"{argument}: found {name!r}. {known.note} Wanted another, or "
            f"rv.newton_schulz.preset({name!r}, allow_sign_flip=True)"
        )
    return known


def _of_length(name: str, known: Preset, steps: int | None) -> Steps:
    published = len(known.coefficients)
    if steps is None:
        return known.coefficients
    try:
        wanted = operator.index(steps)
    except TypeError:
        raise TypeError(f"steps: found {steps!r}; wanted an integer") from None
    if wanted < 1 or (known.tail is None and wanted > published):
        most = f" to {published}, for {name!r} has no more" if known.tail is None else " or more"
        raise InputError(f"steps: found {wanted}; wanted 1{most}")
    tail = () if known.tail is None else (known.tail,) * max(wanted - published, 0)
    return (*known.coefficients[:wanted], *tail)
