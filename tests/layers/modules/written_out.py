"""The layers of the family token by token from their formulas, for one sequence in double precision.

Each takes the module for its parameters and settings alone.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import conv1d, elu, linear, pad, relu, rms_norm, sigmoid, silu, softmax, softplus

from resolvent.layers import (
    AdaptiveFilterAttention,
    DeltaNet,
    DeltaProduct,
    GatedDeltaNet,
    GatedDeltaProduct,
    KalmanFilter,
    KimiDeltaAttention,
    LinearAttention,
    Longhorn,
    Mamba2,
    MesaNet,
)

SIZE, TOKENS = 24, 11


def convolved(y, convolution, activation=silu):
    """(T, channels), each channel over the tokens up to each."""
    width = convolution.weight.shape[-1]
    y = conv1d(pad(y.T[None], (width - 1, 0)), convolution.weight, convolution.bias, groups=y.shape[1])[0].T
    return activation(y)


def projected(net, x, name, activation=silu, alone=silu):
    """Queries, keys or values before heads, (T, ...); ``alone`` is what is applied where there is no convolution."""
    y = linear(x, getattr(net, f"{name}_proj").weight)
    convolution = getattr(net, f"{name}_conv1d")
    return alone(y) if convolution is None else convolved(y, convolution, activation)


def per_head(y, heads):
    """[head][t] from (T, heads * length), the heads there are repeated one after the other."""
    there = y.reshape(y.shape[0], -1, heads[0]).unbind(1)
    return [there[h * len(there) // heads[1]] for h in range(heads[1])]


def unit(y):
    return y / torch.sqrt((y * y).sum(-1, keepdim=True) + 1e-6)


def forgetting(net, x):
    """Decays of heads, (T, heads)."""
    return torch.exp(-torch.exp(net.A_log) * softplus(linear(x, net.a_proj.weight) + net.dt_bias))


def delta_step(S, k, v, strength):
    return S + strength * torch.outer(k, v - S.T @ k)


def finished(net, head, x, gate=silu):
    """Of the outputs (T, V) of each head, ``head(h)``."""
    outputs = [head(h) for h in range(net.heads)]
    o = torch.cat([rms_norm(o, o.shape[-1:], net.o_norm.weight, net.o_norm.eps) for o in outputs], -1)
    if net.g_proj is not None:
        o = o * gate(net.g_proj(x))
    return linear(o, net.o_proj.weight)


def run(net, T, step, read):
    """Outputs (T, V) of S <- step(S, t), o = read(S, t)."""
    S, outputs = torch.zeros(net.head_dim, net.head_v_dim, dtype=torch.float64), []
    for t in range(T):
        S = step(S, t)
        outputs.append(read(S, t))
    return torch.stack(outputs)


def parts(net, x, **how):
    """[head] of (T, D) and (T, V): queries, keys, values."""
    D, V = net.head_dim, net.head_v_dim
    return tuple(
        per_head(projected(net, x, name, **how), (size, net.heads)) for name, size in (("q", D), ("k", D), ("v", V))
    )


def delta_net(net, x):
    choices = {"silu": silu, "relu": relu, "elu": lambda y: elu(y) + 1, "identity": lambda y: y}
    applied = choices[net.qk_activation]
    q, k, _ = parts(net, x, activation=applied, alone=applied)
    _, _, v = parts(net, x)
    norm = unit if net.qk_norm == "l2" else lambda y: y / y.abs().sum(-1, keepdim=True)
    beta = torch.ones(len(x), net.heads, dtype=x.dtype)
    if net.b_proj is not None:
        beta = sigmoid(linear(x, net.b_proj.weight))
    return _delta(net, x, (q, k, v), beta, torch.ones_like(beta), norm=norm)


def gated_delta_net(net, x):
    beta, gate = sigmoid(linear(x, net.b_proj.weight)), sigmoid if net.output_gate_activation == "sigmoid" else silu
    return _delta(net, x, parts(net, x), beta, forgetting(net, x), gate)


def kimi(net, x):
    f = linear(linear(x, net.f_proj[0].weight), net.f_proj[1].weight) + net.dt_bias
    f = f.reshape(len(x), net.heads, net.head_dim)
    A = torch.exp(net.A_log)[:, None]
    g = -A * softplus(f) if net.lower_bound is None else net.lower_bound * sigmoid(A * f)
    return _delta(net, x, parts(net, x), sigmoid(linear(x, net.b_proj.weight)), torch.exp(g), sigmoid)


def _delta(net, x, rows, beta, decay, gate=silu, norm=unit):
    q, k, v = rows
    beta = beta * (2 if net.allow_neg_eigval else 1)

    def head(h):
        Q, K = norm(q[h]), norm(k[h])

        def step(S, t):
            return delta_step(decay[t, h].reshape(-1, 1) * S, K[t], v[h][t], beta[t, h])

        return run(net, len(x), step, lambda S, t: S.T @ Q[t] / math.sqrt(net.head_dim))

    return finished(net, head, x, gate)


def delta_product(net, x):
    n, D, V = net.num_householder, net.head_dim, net.head_v_dim
    q = per_head(projected(net, x, "q"), (D, net.heads))
    flat = {name: projected(net, x, name).chunk(n, -1) for name in "kv"}
    k, v = ([per_head(y, (size, net.heads)) for y in flat[name]] for name, size in (("k", D), ("v", V)))
    beta = (sigmoid(linear(x, net.b_proj.weight)) * (2 if net.allow_neg_eigval else 1)).chunk(n, -1)
    decay = forgetting(net, x) if net.use_forget_gate else torch.ones(len(x), net.heads, dtype=x.dtype)

    def head(h):
        def step(S, t):
            S = decay[t, h] * S
            for i in range(n):
                S = delta_step(S, unit(k[i][h])[t], v[i][h][t], beta[i][t, h])
            return S

        return run(net, len(x), step, lambda S, t: S.T @ unit(q[h])[t] / math.sqrt(D))

    return finished(net, head, x)


def longhorn(net, x):
    """By solving for the minimiser: (I + beta k k^T) S = S_prev + beta k v^T."""
    q, k, v = parts(net, x)
    beta = sigmoid(linear(x, net.b_proj.weight))

    def head(h):
        def step(S, t):
            A = torch.eye(net.head_dim, dtype=x.dtype) + beta[t, h] * torch.outer(k[h][t], k[h][t])
            return torch.linalg.solve(A, S + beta[t, h] * torch.outer(k[h][t], v[h][t]))

        return run(net, len(x), step, lambda S, t: S.T @ q[h][t] / math.sqrt(net.head_dim))

    return finished(net, head, x)


def kalman(net, x):
    """The filter in information form, W = Lambda^-1 eta; the covariance before a token is inverted anew."""
    q, k, v = parts(net, x)
    decay = forgetting(net, x) if net.use_forgetting_gate else torch.ones(len(x), net.heads, dtype=x.dtype)
    r, Q = torch.exp(net.log_noise), torch.exp(net.log_process_noise)
    identity = torch.eye(net.head_dim, dtype=x.dtype)

    def head(h):
        W, P, found = torch.zeros(net.head_dim, net.head_v_dim, dtype=x.dtype), identity, []
        for t in range(len(x)):
            K = unit(k[h])[t]
            W, P = decay[t, h] * W, decay[t, h] ** 2 * P + Q[h] * identity
            information = torch.linalg.inv(P)
            eta = information @ W + torch.outer(K, v[h][t]) / r[h]
            P = torch.linalg.inv(information + torch.outer(K, K) / r[h])
            W = P @ eta
            found.append(W.T @ unit(q[h])[t] / math.sqrt(net.head_dim))
        return torch.stack(found)

    return finished(net, head, x)


def mesa(net, x):
    q, k, _ = parts(net, x)
    v = per_head(linear(x, net.v_proj.weight), (net.head_v_dim, net.heads))
    decay = sigmoid(linear(x, net.a_proj.weight, net.a_proj.bias))
    beta = sigmoid(linear(x, net.b_proj.weight, net.b_proj.bias))
    ridge = (net.lambda_lower_bound + softplus(net.lambda_params)).reshape(net.heads, -1)

    def head(h):
        H, U, found = torch.zeros(net.head_dim, net.head_dim, dtype=x.dtype), 0, []
        for t in range(len(x)):
            K = unit(k[h])[t]
            H = decay[t, h] * H + beta[t, h] * torch.outer(K, K)
            U = decay[t, h] * U + beta[t, h] * torch.outer(K, v[h][t])
            found.append(U.T @ torch.linalg.solve(H + torch.diag(ridge[h]), unit(q[h])[t]))
        return torch.stack(found)

    return finished(net, head, x)


def mamba2(net, x):
    """As a state space: h (state_size, head_dim) of each head."""
    heads, D, N = net.heads, net.head_v_dim, net.head_dim
    inner, groups = heads * D, net.num_heads
    z, mixed, dt = linear(x, net.in_proj.weight, net.in_proj.bias).split([inner, inner + 2 * groups * N, heads], -1)
    u, B, C = convolved(mixed, net.conv1d).split([inner, groups * N, groups * N], -1)
    dt = softplus(dt + net.dt_bias).clamp(*net.dt_limit)
    u, B, C = per_head(u, (D, heads)), per_head(B, (N, heads)), per_head(C, (N, heads))
    weight = net.D.reshape(heads, -1)

    def head(h):
        def step(S, t):
            return torch.exp(-dt[t, h] * torch.exp(net.A_log[h])) * S + dt[t, h] * torch.outer(B[h][t], u[h][t])

        return run(net, len(x), step, lambda S, t: S.T @ C[h][t] + weight[h] * u[h][t])

    y = torch.cat([head(h) for h in range(heads)], -1)

    def norm(y):
        if net.norm is None:
            return y
        grouped = y.reshape(len(x), groups, -1)
        return (grouped / torch.sqrt((grouped**2).mean(-1, keepdim=True) + net.norm.eps)).flatten(1) * net.norm.weight

    y = norm(y) * silu(z) if net.norm_before_gate else norm(y * silu(z))
    return linear(y, net.out_proj.weight, net.out_proj.bias)


def linear_attention(net, x):
    """As attention: sums over the tokens so far, without a state."""

    def features(y, of):
        if net.feature_map == "elu":
            return elu(y) + 1
        if net.feature_map == "relu":
            return relu(y)
        if net.feature_map == "identity":
            return y
        if net.feature_map == "t2r":
            return relu(linear(y, of.layer.weight))
        if net.feature_map == "hedgehog":
            y = linear(y, of.layer.weight, of.layer.bias)
            return softmax(torch.cat([2 * y, -2 * y], -1), -1)
        return linear(y, of.layer1.weight, of.layer1.bias) * linear(y, of.layer2.weight, of.layer2.bias)

    q, k, v = parts(net, x, alone=lambda y: y)

    def head(h):
        Q, K = features(q[h], net.feature_map_q), features(k[h], net.feature_map_k)
        Q = Q / (Q.sum(-1, keepdim=True) + 1e-4) if net.norm_q else Q
        K = K / (K.sum(-1, keepdim=True) + 1e-4) if net.norm_k else K
        weights = torch.tril(Q @ K.T)
        o = weights @ v[h] / (weights.sum(1, keepdim=True) if net.do_feature_map_norm else math.sqrt(Q.shape[1]))
        return rms_norm(o, o.shape[-1:], net.norm.weight, net.norm.eps) if net.output_norm == "rmsnorm" else o

    return linear(torch.cat([head(h) for h in range(net.heads)], -1), net.o_proj.weight)


def adaptive_filter(net, x):
    """With complex numbers, each pair of tokens by itself."""
    q, k, v = parts(net, x, alone=lambda y: y)
    pairs, names = net.head_dim // 2, ("decay", "process_noise", "key_noise", "query_noise", "nu")

    def head(h):
        Q, K, W = (torch.complex(y[:, :pairs], y[:, pairs:]) for y in (q[h], k[h], v[h]))
        mu, s, eta, gamma, nu = (getattr(net, f"log_{name}")[h].exp() for name in names)
        rate = torch.complex(-mu.expand(pairs), net.omega[h])
        found = []
        for i in range(len(x)):
            scores, carried = [], []
            for j in range(i + 1):
                forward = torch.exp(rate * (i - j))
                grown = (1 - torch.exp(-2 * mu * (i - j))) / (2 * mu)
                V = s * grown + eta * torch.exp(-2 * mu * (i - j)) + gamma
                R = (Q[i] - forward * K[j]).abs().square().sum() / (nu * net.head_dim * V)
                scores.append(-torch.log(V) - (torch.log(1 + R) if net.robust else R))
                carried.append(forward * W[j])
            o = (softmax(torch.stack(scores), 0)[:, None] * torch.stack(carried)).sum(0)
            found.append(torch.cat([o.real, o.imag]))
        return torch.stack(found)

    return finished(net, head, x)


@dataclass(frozen=True)
class Layer:
    """A module, how it is made small, its formulas, and settings that change them."""

    kind: Any
    settings: dict[str, Any]
    formula: Any
    variants: tuple[dict[str, Any], ...] = ()

    def __str__(self):
        return self.kind.__name__

    def make(self, seed=0, **changes):
        torch.manual_seed(seed)
        return self.kind(**(self.settings | {"layer_idx": 0} | changes)).double()


OF_LENGTH = {"hidden_size": SIZE, "head_dim": 6, "num_heads": 2}
SHARING = {"hidden_size": SIZE, "num_heads": 4}
NO_CONVOLUTION = {"use_short_conv": False}
NEGATIVE = {"allow_neg_eigval": True}
VALUES = {"num_v_heads": 4, "expand_v": 1.5}

LAYERS = [
    Layer(
        DeltaNet, SHARING, delta_net,
        (
            NO_CONVOLUTION, NEGATIVE, {"use_beta": False, "use_gate": True}, {"qk_activation": "elu", "qk_norm": "sum"},
            {"qk_activation": "relu", "use_short_conv": False}, {"qk_activation": "identity", "conv_bias": True},
            {"expand_k": 0.5, "expand_v": 2.0},
        ),
    ),
    Layer(
        GatedDeltaNet, OF_LENGTH, gated_delta_net,
        (
            NO_CONVOLUTION, NEGATIVE, VALUES, {"use_gate": False}, {"output_gate_activation": "sigmoid"},
            {"conv_bias": True}, {"num_kv_heads": 1},
        ),
    ),
    Layer(
        GatedDeltaProduct, OF_LENGTH, delta_product,
        (NO_CONVOLUTION, {"allow_neg_eigval": False}, VALUES, {"num_householder": 3, "use_output_gate": False}),
    ),
    Layer(DeltaProduct, OF_LENGTH, delta_product, ({"num_householder": 1},)),
    Layer(
        KimiDeltaAttention, OF_LENGTH, kimi,
        (NO_CONVOLUTION, NEGATIVE, VALUES, {"safe_gate": True, "lower_bound": -5.0}, {"lower_bound": -2.0}),
    ),
    Layer(Longhorn, SHARING, longhorn, (NO_CONVOLUTION, {"use_gate": True, "expand_v": 2.0})),
    Layer(
        KalmanFilter, OF_LENGTH, kalman,
        (
            VALUES, {"use_forgetting_gate": False, "use_gate": False}, {"noise": 1.0, "process_noise": 0.3},
            {"num_kv_heads": 1},
        ),
    ),
    Layer(
        Mamba2, {"hidden_size": SIZE, "head_dim": 12, "state_size": 5}, mamba2,
        (
            {"n_groups": 2, "norm_before_gate": True}, {"rmsnorm": False, "D_has_hdim": True}, {"use_bias": True},
            {"use_conv_bias": False, "dt_limit": (0.01, 0.05)},
        ),
    ),
    Layer(
        MesaNet, OF_LENGTH | {"rtol": 1e-13}, mesa,
        (
            NO_CONVOLUTION, {"use_output_gate": True, "lambda_lower_bound": 0.5}, {"rtol": None},
            {"solver": "exact", "conv_bias": True, "rtol": None},
        ),
    ),
    Layer(
        LinearAttention, SHARING, linear_attention,
        (
            {"feature_map": "elu", "do_feature_map_norm": True}, {"feature_map": "hedgehog", "norm_q": True},
            {"feature_map": "identity", "output_norm": "identity"}, {"feature_map": "relu", "norm_k": True},
            {"feature_map": "t2r", "num_kv_heads": 2, "elementwise_affine": False},
            {"feature_map": "hedgehog", "tie_feature_map_qk": True, "do_feature_map_norm": True},
        ),
    ),
    Layer(
        AdaptiveFilterAttention, OF_LENGTH, adaptive_filter,
        ({"robust": False, "use_gate": True}, {"num_heads": 4, "num_kv_heads": 2}),
    ),
]  # fmt: skip
