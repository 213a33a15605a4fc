"""Tuners choose a parameter for each system of a sequence, and learn from what the solves cost and show."""

from .adaptive_sor import AdaptiveSOR
from .auto import Auto
from .chebcb import ChebCB
from .choice import Choice
from .evidence import Evidence, Look, look_at
from .fixed import Fixed
from .fixed_points import FixedPointSequence
from .history import History
from .sequence import Sequence
from .spectral import Spectral
from .thompson import GaussianThompson
from .tsallis import TsallisINF
from .tsallis_binned import TsallisINFBinned
from .tuner import Tuner

__all__ = [
    "AdaptiveSOR",
    "Auto",
    "ChebCB",
    "Choice",
    "Evidence",
    "Fixed",
    "FixedPointSequence",
    "GaussianThompson",
    "History",
    "Look",
    "Sequence",
    "Spectral",
    "TsallisINF",
    "TsallisINFBinned",
    "Tuner",
    "look_at",
]
