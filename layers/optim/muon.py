"""Muon: momentum, made nearly orthogonal, as the step of every weight matrix; AdamW for what is no matrix."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch.optim.adamw import adamw

from ...errors import InputError
from ...naming import choice
from ...solvers.matrix_functions.method import checked_schedule
from ...solvers.matrix_functions.schedule import Schedule
from .orthogonal import SCALINGS, Steps, orthogonalized
from .sharing import Layout, gathered

__all__ = ["Muon"]

KELLER = (3.4445, -4.7750, 2.0315)
LEARNING_RATES = ("original", "match_rms_adamw")
FOLDED = ("stack", "flatten")
MOST_STEPS = 99

Coefficients = tuple[float, float, float] | Steps | Schedule | str


class Matrix(NamedTuple):
    """A parameter with a gradient, the momentum of it, and the shape (..., m, n) of the matrices that it holds."""

    parameter: torch.Tensor
    gradient: torch.Tensor
    momentum: torch.Tensor
    shape: tuple[int, ...]


class Muon(torch.optim.Optimizer):
    r"""Momentum, orthogonalised by Newton-Schulz iteration: ``torch.optim.Muon`` with schedules, batches and AdamW.

    With gradient G, a step of a matrix parameter W of shape (m, n) is

        B <- mu B + (1 - mu) G,   O <- NewtonSchulz((1 - mu) G + mu B, or B),   W <- (1 - lr wd) W - lr c(m, n) O.

    Parameters
    ----------
    params : iterable of Parameters, of named ones, or of dicts
        Parameter groups as of any ``torch.optim.Optimizer``. A group with ``use_muon=False`` is updated by AdamW.
    lr, weight_decay, momentum, nesterov, eps, adjust_lr_fn :
        As of ``torch.optim.Muon``. ``adjust_lr_fn`` "original" is c = sqrt(max(1, m / n)), "match_rms_adamw" is
        c = 0.2 sqrt(max(m, n)), with which learning rates of AdamW carry over.
    ns_coefficients : (a, b, c), sequence of such, Schedule, or str
        One step's polynomial a x + b x^3 + c x^5, used ``ns_steps`` times, as in PyTorch; or the coefficients of each
        step, of any odd degrees; a ``Schedule`` of ``rv.newton_schulz.schedule``; or the name of a published one of
        ``rv.newton_schulz.presets()``.
    ns_steps : int, optional
        Steps; by default 5 of one polynomial, and as many as a schedule has.
    scaling : {"frobenius", "schatten-4", "aol"}
        By what momentum is divided first. Tighter than PyTorch's Frobenius norm, and as cheap: "schatten-4"; tighter
        still, and biased: "aol", whose first step of four spares the fifth (Turbo-Muon).
    matrices : {"stack", "flatten"}, optional
        What a parameter of more than two axes holds: a stack of matrices in its last two (experts, heads), or one
        matrix of its first axis by all others (convolutions). By default "stack" for three axes, "flatten" for more.
    compute_dtype : torch.dtype, optional
        What to iterate in: by default bfloat16 on accelerators, as PyTorch does everywhere, and float32 on the CPU,
        where bfloat16 takes longer.
    use_muon : bool
        False for AdamW.
    betas, adamw_eps :
        Of AdamW; ``lr`` and ``weight_decay`` are shared.
    process_group : torch.distributed.ProcessGroup, optional
        Whose processes hold equal parameters and gradients: each then orthogonalises its share of them, and one gather
        a step hands round what was found. Sharded parameters (``DTensor``) need no mention: their momentum is gathered,
        at once for all of a group, and each process keeps its part of what comes of it.

    Raises
    ------
    InputError
        Scalars and vectors without ``use_muon=False``, complex or sparse ones, numbers outside their range, unknown
        names.

    Notes
    -----
    Costs per step and matrix, m >= n: the products of the schedule, (2 m n^2) and (2 n^3) flops, 15 of them for the
    default. Matrices of one shape, transposed ones among them, go through each product together; elementwise work is
    done for all parameters at once. A state dict is that of ``torch.optim.Muon``, and of AdamW for its groups: each
    loads the other's as long as one polynomial is used. Gradients and momentum are never written to by the iteration.

    References
    ----------
    Jordan, Jin, Boza, You, Cesista, Newhouse and Bernstein (2024), "Muon: an optimizer for hidden layers in neural
    networks"; Liu et al. (2025), "Muon is scalable for LLM training" (arXiv:2502.16982).

    Examples
    --------
    >>> import torch
    >>> from resolvent.layers.optim import Muon
    >>> model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1))
    >>> optimizer = Muon.for_module(model, adamw=["2"], lr=0.02, ns_coefficients="polar-express")
    >>> loss = model(torch.ones(3, 4)).square().mean()
    >>> loss.backward()
    >>> optimizer.step()
    >>> [(group["use_muon"], len(group["params"])) for group in optimizer.param_groups]
    [(True, 1), (False, 3)]
    """

    def __init__(
        self,
        params: Any,
        lr: float | torch.Tensor = 1e-3,
        weight_decay: float = 0.1,
        momentum: float = 0.95,
        nesterov: bool = True,
        ns_coefficients: Coefficients = KELLER,
        eps: float = 1e-7,
        ns_steps: int | None = None,
        adjust_lr_fn: str | None = None,
        *,
        scaling: str = "frobenius",
        matrices: str | None = None,
        compute_dtype: torch.dtype | None = None,
        use_muon: bool = True,
        betas: tuple[float, float] = (0.9, 0.95),
        adamw_eps: float = 1e-8,
        process_group: Any = None,
    ) -> None:
        self._process_group = process_group
        defaults = {
            "lr": lr,
            "weight_decay": weight_decay,
            "momentum": momentum,
            "nesterov": nesterov,
            "ns_coefficients": ns_coefficients,
            "eps": eps,
            "ns_steps": ns_steps,
            "adjust_lr_fn": adjust_lr_fn,
            "scaling": scaling,
            "matrices": matrices,
            "compute_dtype": compute_dtype,
            "use_muon": use_muon,
            "betas": betas,
            "adamw_eps": adamw_eps,
        }
        super().__init__(params, defaults)

    @classmethod
    def for_module(
        cls, module: torch.nn.Module, *, adamw: Sequence[str] | Callable[[str, torch.Tensor], bool] = (), **options: Any
    ) -> Muon:
        """An optimizer for a module: Muon for its weight matrices, AdamW for vectors, embeddings and what is named.

        Parameters
        ----------
        module : torch.nn.Module
        adamw : sequence of str, or callable (name, parameter) -> bool
            Names of parameters, or of modules with all in them, for AdamW: the last layer's, as is advised.
        **options :
            Of ``Muon``.

        Examples
        --------
        >>> import torch
        >>> from resolvent.layers.optim import Muon
        >>> optimizer = Muon.for_module(torch.nn.Conv1d(2, 4, 3), lr=0.02)
        >>> [(group["use_muon"], group["matrices"]) for group in optimizer.param_groups]
        [(True, 'flatten'), (False, None)]
        """
        named = adamw if callable(adamw) else None
        prefixes = () if callable(adamw) else tuple(adamw)
        kinds = {
            id(parameter): type(owner) for owner in module.modules() for parameter in owner.parameters(recurse=False)
        }
        groups: dict[tuple[bool, str | None], list[tuple[str, torch.Tensor]]] = {}
        unknown = set(prefixes)
        for name, parameter in module.named_parameters():
            if not parameter.requires_grad:
                continue
            under = {prefix for prefix in prefixes if name == prefix or name.startswith(prefix + ".")}
            unknown -= under
            kind = kinds[id(parameter)]
            embeds = issubclass(kind, (torch.nn.Embedding, torch.nn.EmbeddingBag))
            other = parameter.ndim < 2 or embeds or bool(under) or (named is not None and named(name, parameter))
            # Of a convolution the three axes of a weight are one matrix.
            convolves = not other and parameter.ndim == 3 and issubclass(kind, torch.nn.modules.conv._ConvNd)
            groups.setdefault((not other, "flatten" if convolves else None), []).append((name, parameter))
        if unknown:
            raise InputError(f"adamw: found {sorted(unknown)[0]!r}; wanted names of parameters or modules that train")
        given = options.pop("matrices", None)
        return cls(
            [
                {"params": members, "use_muon": muon, "matrices": folded or given if muon else None}
                for (muon, folded), members in sorted(
                    groups.items(), key=lambda item: (not item[0][0], str(item[0][1]))
                )
            ],
            **options,
        )

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add parameters, with options of their own, as of any optimizer.

        Raises
        ------
        InputError
            As the constructor.
        """
        group = {**self.defaults, **param_group}
        checked = _checked(group)
        super().add_param_group({**param_group, **checked})
        group = self.param_groups[-1]
        try:
            for parameter in group["params"]:
                _check_parameter(parameter, group)
        except InputError:
            self.param_groups.pop()
            raise

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Options that the state of ``torch.optim.Muon`` or ``AdamW`` lacks are those of this optimizer."""
        super().__setstate__(state)
        self.__dict__.setdefault("_process_group", None)  # which no copy takes along
        for group in self.param_groups:
            for key, value in self.defaults.items():
                group.setdefault(key, value)
            group.update(_checked(group))

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step of every parameter that has a gradient.

        Parameters
        ----------
        closure : callable, optional
            Evaluates the loss, with gradients; it is called once.

        Returns
        -------
        The loss, where a closure is given.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            with_gradients = [p for p in group["params"] if p.grad is not None]
            if not with_gradients:
                continue
            for p in with_gradients:
                if p.grad.is_sparse:
                    raise InputError("params: found a sparse gradient; wanted dense ones")
            if group["use_muon"]:
                self._orthogonal_step(group, with_gradients)
            else:
                self._adamw_step(group, with_gradients)
        return loss

    def _orthogonal_step(self, group: dict[str, Any], parameters: list[torch.Tensor]) -> None:
        matrices = [self._matrix(p, group["matrices"]) for p in parameters]
        lr, mu = float(group["lr"]), group["momentum"]
        layout = Layout([m.parameter for m in matrices], self._process_group)
        here = [layout.local(m.parameter) for m in matrices]
        gradients = [layout.local(m.gradient) for m in matrices]
        momenta = [layout.local(m.momentum) for m in matrices]
        torch._foreach_lerp_(momenta, gradients, 1 - mu)
        directions = torch._foreach_lerp(gradients, momenta, mu) if group["nesterov"] else momenta
        dtype = group["compute_dtype"] or (torch.float32 if here[0].device.type == "cpu" else torch.bfloat16)

        def orthogonal(whole: Sequence[torch.Tensor], which: Sequence[int]) -> list[torch.Tensor]:
            shaped = [direction.reshape(matrices[i].shape) for i, direction in zip(which, whole, strict=True)]
            return orthogonalized(shaped, _steps(group), scaling=group["scaling"], eps=group["eps"], dtype=dtype)

        shapes = [m.shape for m in matrices]
        updates = gathered(layout, directions, shapes, orthogonal, dtype)
        if group["weight_decay"]:
            torch._foreach_mul_(here, 1 - lr * group["weight_decay"])
        rates: dict[float, list[int]] = {}
        for i, shape in enumerate(shapes):
            rates.setdefault(_rate(lr, group["adjust_lr_fn"], shape), []).append(i)
        for rate, which in rates.items():
            torch._foreach_add_([here[i] for i in which], [updates[i] for i in which], alpha=-rate)

    def _matrix(self, parameter: torch.Tensor, folded: str | None) -> Matrix:
        state = self.state[parameter]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(parameter.grad, memory_format=torch.preserve_format)
        return Matrix(parameter, parameter.grad, state["momentum_buffer"], _matrix_shape(parameter.shape, folded))

    def _adamw_step(self, group: dict[str, Any], parameters: list[torch.Tensor]) -> None:
        states = [self.state[p] for p in parameters]
        for p, state in zip(parameters, states, strict=True):
            if not state:
                state["step"] = torch.tensor(0.0)
                state["exp_avg"] = torch.zeros_like(p, memory_format=torch.preserve_format)
                state["exp_avg_sq"] = torch.zeros_like(p, memory_format=torch.preserve_format)
        adamw(
            parameters,
            [p.grad for p in parameters],
            [state["exp_avg"] for state in states],
            [state["exp_avg_sq"] for state in states],
            [],
            [state["step"] for state in states],
            foreach=None,
            amsgrad=False,
            beta1=group["betas"][0],
            beta2=group["betas"][1],
            lr=float(group["lr"]),
            weight_decay=group["weight_decay"],
            eps=group["adamw_eps"],
            maximize=False,
        )


def _steps(group: dict[str, Any]) -> Steps:
    """The polynomials of a group, one a step."""
    given = group["ns_coefficients"]
    return (given,) * group["ns_steps"] if isinstance(given[0], float) else given


def _rate(lr: float, adjust: str | None, shape: Sequence[int]) -> float:
    rows, columns = shape[-2:]
    if adjust == "match_rms_adamw":
        return lr * 0.2 * math.sqrt(max(rows, columns))
    return lr * math.sqrt(max(1, rows / columns))


def _matrix_shape(shape: Sequence[int], folded: str | None) -> tuple[int, ...]:
    """(..., m, n) of a parameter's matrices."""
    flat = folded == "flatten" or (folded is None and len(shape) > 3)
    return (shape[0], math.prod(shape[1:])) if flat else tuple(shape)


def _check_parameter(parameter: torch.Tensor, group: dict[str, Any]) -> None:
    shape = tuple(parameter.shape)
    if not group["use_muon"]:
        return
    if parameter.ndim < 2:
        raise InputError(
            f"params: found a parameter of shape {shape}; wanted matrices; others go into a group with "
            "use_muon=False, as Muon.for_module does it"
        )
    if parameter.is_complex():
        raise InputError(f"params: found a parameter of dtype {parameter.dtype}; wanted real ones")


def _checked(group: dict[str, Any]) -> dict[str, Any]:
    """The options of a group that were given in more than one form, in one; errors for those out of range."""
    if isinstance(group["lr"], torch.Tensor) and group["lr"].numel() != 1:
        raise InputError(f"lr: found a tensor of shape {tuple(group['lr'].shape)}; wanted one number")
    for name in ("lr", "weight_decay", "momentum", "eps", "adamw_eps"):
        value = group[name]
        if not (isinstance(value, int | float | torch.Tensor) and 0 <= float(value) < math.inf):
            raise InputError(f"{name}: found {value!r}; wanted a number of at least 0")
    if not all(0 <= beta < 1 for beta in group["betas"]):
        raise InputError(f"betas: found {group['betas']!r}; wanted two numbers in [0, 1)")
    for name, choices in (("adjust_lr_fn", LEARNING_RATES), ("matrices", FOLDED), ("scaling", SCALINGS)):
        if group[name] is not None or name == "scaling":
            group[name] = choice(name, group[name], choices, more="" if name == "scaling" else ", or None")
    dtype = group["compute_dtype"]
    if dtype is not None and not (isinstance(dtype, torch.dtype) and dtype.is_floating_point):
        raise InputError(f"compute_dtype: found {dtype!r}; wanted a real floating-point dtype")
    coefficients, steps = _coefficients(group["ns_coefficients"], group["ns_steps"])
    return {"ns_coefficients": coefficients, "ns_steps": steps}


def _coefficients(given: Any, steps: int | None) -> tuple[Any, int]:
    """One polynomial as floats and how often it is used, or the polynomials of all steps and their number."""
    if steps is not None and not (isinstance(steps, int) and 1 <= steps <= MOST_STEPS):
        raise InputError(f"ns_steps: found {steps!r}; wanted a number of steps from 1 to {MOST_STEPS}")
    if isinstance(given, str | Schedule):
        given = checked_schedule(given, 1, "ns_coefficients", steps).coefficients
    wanted = "wanted (a, b, c), such a tuple for each step, a Schedule, or a preset"
    try:
        one = isinstance(given[0], int | float)
        every = tuple(tuple(map(float, step)) for step in ((given,) if one else given))
    except (TypeError, ValueError, IndexError, KeyError) as error:
        raise InputError(f"ns_coefficients: found {given!r}; {wanted}") from error
    if not all(step and all(map(math.isfinite, step)) for step in every):
        raise InputError(f"ns_coefficients: found {given!r}; {wanted}")
    if one:
        return every[0], 5 if steps is None else steps
    if steps not in (None, len(every)):
        raise InputError(f"ns_steps: found {steps}; wanted {len(every)}, as many as there are polynomials, or None")
    return every, len(every)
