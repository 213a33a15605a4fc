"""Tuners."""

from .chebcb import ChebCB
from .evidence import Evidence, Look, look_at
from .fixed import Fixed
from .tsallis import TsallisINF
from .tsallis_binned import TsallisINFBinned
from .thompson import GaussianThompson
from .tuner import Tuner
