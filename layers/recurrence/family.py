"""The family as a table: one recurrence, and what each member assumes of the covariance of the keys."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["FAMILY", "Member"]


@dataclass(frozen=True)
class Member:
    r"""One row. With a state S (D, V) a head, decays gamma_t = exp(g_t), and a correction or several a token,

        S <- gamma_t S;    u_t = v_t - S^T e_t;    S <- S + w_t u_t^T;    o_t = scale S^T r_t.

    Attributes
    ----------
    title : str
    functions : tuple of str
        In ``resolvent.layers.functional``.
    module : str
        In ``resolvent.layers``; empty where there is none.
    decay : {"none", "head", "channel", "optional"}
        One number a head and token, or one a channel of its keys; or a head's that may be left out.
    write, erase, read : str
        w_t, e_t (0: nothing is erased) and r_t.
    assumes : str
        Of the keys: their covariance P, or their sum of squares H, in the terms of a Kalman filter.
    state : str
        Numbers kept a head.
    cost : str
        Multiplications and additions a token and head, token by token.
    eigenvalues : str
        Of what the state is multiplied by at a token; for keys of unit length.
    tracks : str
        What products of such matrices can follow.
    source : str
    """

    title: str
    functions: tuple[str, ...]
    module: str
    decay: str
    write: str
    erase: str
    read: str
    assumes: str
    state: str
    cost: str
    eigenvalues: str
    tracks: str
    source: str

    @property
    def erases(self) -> bool:
        """Whether what the state holds for a key is taken out before more is written."""
        return self.erase != "0"


def _pair(name: str) -> tuple[str, str]:
    return f"chunk_{name}", f"fused_recurrent_{name}"


NOTHING = "sums; no state that changes sign or place"
PARITY = "parity and swaps where beta reaches 2"

FAMILY: dict[str, Member] = {
    "linear_attn": Member(
        title="Linear attention",
        functions=_pair("linear_attn"),
        module="LinearAttention",
        decay="none",
        write="k",
        erase="0",
        read="q",
        assumes="H = I: keys are white, and nothing is out of date",
        state="D V",
        cost="2 D V",
        eigenvalues="1",
        tracks=NOTHING,
        source="arXiv:2006.16236",
    ),
    "simple_gla": Member(
        title="Mamba-2, RetNet, simple GLA",
        functions=_pair("simple_gla"),
        module="Mamba2",
        decay="head",
        write="k",
        erase="0",
        read="q",
        assumes="H ~ I in an exponential window",
        state="D V",
        cost="3 D V",
        eigenvalues="gamma in (0, 1]",
        tracks=NOTHING,
        source="arXiv:2405.21060",
    ),
    "gla": Member(
        title="Gated linear attention",
        functions=_pair("gla"),
        module="",
        decay="channel",
        write="k",
        erase="0",
        read="q",
        assumes="H ~ I, a window for each channel",
        state="D V",
        cost="3 D V",
        eigenvalues="gamma_i in (0, 1]",
        tracks=NOTHING,
        source="arXiv:2312.06635",
    ),
    "delta_rule": Member(
        title="DeltaNet",
        functions=_pair("delta_rule"),
        module="DeltaNet",
        decay="none",
        write="beta k",
        erase="k",
        read="q",
        assumes="P = I at every token: beta = 1 / (1 + r)",
        state="D V",
        cost="4 D V",
        eigenvalues="1 and 1 - beta in [-1, 1]",
        tracks=PARITY,
        source="arXiv:2406.06484",
    ),
    "gated_delta_rule": Member(
        title="Gated DeltaNet",
        functions=_pair("gated_delta_rule"),
        module="GatedDeltaNet",
        decay="head",
        write="beta k",
        erase="k",
        read="q",
        assumes="P = I before a prediction with Q = I: beta = (gamma^2 + 1) / (gamma^2 + 1 + r)",
        state="D V",
        cost="5 D V",
        eigenvalues="gamma and gamma (1 - beta)",
        tracks=PARITY,
        source="arXiv:2412.06464",
    ),
    "kda": Member(
        title="Kimi Delta Attention",
        functions=_pair("kda"),
        module="KimiDeltaAttention",
        decay="channel",
        write="beta k",
        erase="k",
        read="q",
        assumes="P = I at every token, a window for each channel",
        state="D V",
        cost="5 D V",
        eigenvalues="of (I - beta k k^T) diag(gamma), in [-1, 1]",
        tracks=PARITY,
        source="arXiv:2510.26692",
    ),
    "gated_delta_product": Member(
        title="DeltaProduct, n corrections a token",
        functions=_pair("gated_delta_product"),
        module="DeltaProduct",
        decay="optional",
        write="beta_i k_i",
        erase="k_i",
        read="q",
        assumes="P = I, n observations a token",
        state="D V",
        cost="(4 n + 1) D V",
        eigenvalues="of n reflections: any rotation of n dimensions",
        tracks="permutations of n + 1 things where beta reaches 2",
        source="arXiv:2502.10297",
    ),
    "comba": Member(
        title="Comba",
        functions=_pair("comba"),
        module="",
        decay="head",
        write="beta k",
        erase="p / gamma",
        read="q",
        assumes="a gain that is not symmetric",
        state="D V",
        cost="5 D V",
        eigenvalues="gamma and gamma - beta p^T k",
        tracks=PARITY,
        source="arXiv:2506.02475",
    ),
    "longhorn": Member(
        title="Longhorn",
        functions=_pair("longhorn"),
        module="Longhorn",
        decay="none",
        write="beta k / (1 + beta ||k||^2)",
        erase="k",
        read="q",
        assumes="P = beta I at every token, r = 1",
        state="D V",
        cost="4 D V",
        eigenvalues="1 and 1 / (1 + beta) in (0, 1]",
        tracks=NOTHING,
        source="arXiv:2407.14207",
    ),
    "precond_gated_delta_rule": Member(
        title="Preconditioned DeltaNet",
        functions=_pair("precond_gated_delta_rule"),
        module="",
        decay="head",
        write="beta m o k",
        erase="k",
        read="q",
        assumes="H diagonal; m its inverse, kept between 2/3 and 3/2",
        state="D V + D",
        cost="5 D V",
        eigenvalues="gamma and gamma (1 - beta k^T m o k)",
        tracks=PARITY,
        source="arXiv:2604.21100",
    ),
    "precond_kda": Member(
        title="Preconditioned KDA",
        functions=_pair("precond_kda"),
        module="",
        decay="channel",
        write="beta m o k",
        erase="k",
        read="q",
        assumes="H diagonal; m its inverse, kept between 2/3 and 3/2",
        state="D V + D",
        cost="5 D V",
        eigenvalues="of (I - beta (m o k) k^T) diag(gamma)",
        tracks=PARITY,
        source="arXiv:2604.21100",
    ),
    "kdn": Member(
        title="Kalman Delta Network",
        functions=("kdn",),
        module="",
        decay="optional",
        write="p o k / (r + sum p k^2)",
        erase="k",
        read="q",
        assumes="P = diag(p), or p I",
        state="D V + D",
        cost="5 D V",
        eigenvalues="gamma times numbers in (0, 1]",
        tracks=NOTHING,
        source="arXiv:2609.07816",
    ),
    "kalman_filter": Member(
        title="Kalman filter",
        functions=("kalman_filter",),
        module="KalmanFilter",
        decay="optional",
        write="P k / (r + k^T P k)",
        erase="k",
        read="q",
        assumes="nothing but the noises: the exact P",
        state="D (D + V)",
        cost="5 D V + 6 D^2",
        eigenvalues="gamma times numbers in (0, 1]",
        tracks=NOTHING,
        source="Kalman (1960)",
    ),
    "rls": Member(
        title="Recursive least squares with forgetting",
        functions=("rls",),
        module="",
        decay="optional",
        write="P k / (r + k^T P k), P <- P / gamma before",
        erase="k",
        read="q",
        assumes="the exact H, with a prior that fades",
        state="D (D + V)",
        cost="4 D V + 5 D^2",
        eigenvalues="numbers in (0, 1]",
        tracks=NOTHING,
        source="Plackett (1950)",
    ),
    "mesa_net": Member(
        title="MesaNet",
        functions=("chunk_mesa_net",),
        module="MesaNet",
        decay="head",
        write="beta k",
        erase="0",
        read="(H + Lambda)^{-1} q",
        assumes="the exact H, with a prior that never fades",
        state="D (D + V)",
        cost="3 D V + 2 D^2 (s + 1), s steps of a solver",
        eigenvalues="gamma in (0, 1]",
        tracks=NOTHING,
        source="arXiv:2506.05233",
    ),
    "gka": Member(
        title="Gated KalmaNet",
        functions=("gated_kalmanet", "chunk_gka"),
        module="GatedKalmaNet",
        decay="head",
        write="beta^2 k",
        erase="0",
        read="q + alpha ((H + a ||H|| I)^{-1} q - q)",
        assumes="the exact H, with a prior in proportion to it",
        state="D (D + V)",
        cost="3 D V + 2 D^2 (s + 1), s steps of a solver",
        eigenvalues="gamma in (0, 1]",
        tracks=NOTHING,
        source="arXiv:2511.21016",
    ),
}
