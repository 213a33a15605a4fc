"""What a caller meant by a name that there is not: another spelling, another library's name, a slip of the keys."""

from __future__ import annotations

import difflib
import functools
import inspect
import math
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from .errors import GradientWarning, InputError, ParameterError, warn_caller

__all__ = [
    "choice",
    "choose_fields",
    "elsewhere",
    "like",
    "named_in",
    "nearest",
    "not_chosen",
    "parameter_of_a_method",
    "parameter_of_another",
    "refusing_other_names",
    "suggestion",
    "unknown_parameter",
]

F = TypeVar("F", bound=Callable[..., Any])
S = TypeVar("S", bound=str)

# What other libraries call a parameter: ours, the first that the function has.
SPELLINGS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("tol", "tolerance", "eps", "epsilon", "reltol", "rel_tol", "ftol", "xtol", "gtol"), ("rtol",)),
    **dict.fromkeys(("f_tol", "x_tol", "threshold", "accuracy", "residual_tol"), ("rtol",)),
    **dict.fromkeys(("abstol", "abs_tol", "atolerance"), ("atol",)),
    **dict.fromkeys(("maxit", "maxits", "itmax", "iterlim", "iter_lim", "limit", "steps"), ("maxiter",)),
    **dict.fromkeys(("max_iter", "max_iters", "max_it", "max_steps", "max_iterations", "iterations"), ("maxiter",)),
    **dict.fromkeys(("iters", "niter", "n_iter", "num_iter", "num_iters", "maxiters", "nit"), ("maxiter",)),
    **dict.fromkeys(("show", "verbose", "verbosity", "disp", "display", "iprint", "print_level"), ("progress",)),
    **dict.fromkeys(("show_progress", "progress_bar", "pbar", "tqdm"), ("progress",)),
    **dict.fromkeys(("prec", "precond", "preconditioner", "pre", "P", "Pl", "Pr", "M1", "M2"), ("M",)),
    **dict.fromkeys(("Minv", "M_inv", "inverse", "preconditioning"), ("M",)),
    **dict.fromkeys(("guess", "init", "initial", "initial_guess", "x_0", "xo", "start", "x_init"), ("x0", "z0")),
    **dict.fromkeys(("x0", "z_0", "x", "z"), ("x0", "z0")),
    **dict.fromkeys(("cb", "hook", "on_iteration", "monitor"), ("callback",)),
    **dict.fromkeys(("timeout", "max_time", "maxtime", "timelimit", "time"), ("time_limit",)),
    **dict.fromkeys(("dtype", "format", "fmt"), ("precision", "dtype")),
    **dict.fromkeys(("engine", "lib", "library"), ("backend",)),
    **dict.fromkeys(("solver", "algorithm", "algo", "kind"), ("method", "scheme")),
    **dict.fromkeys(("w", "relax", "relaxation", "omega", "weight", "damp", "mixing", "beta"), ("omega", "damping")),
    **dict.fromkeys(("m", "memory", "window", "history", "history_size", "mk"), ("depth",)),
    **dict.fromkeys(("bounds", "spectrum", "lam", "eigs", "eigenvalues"), ("interval",)),
    **dict.fromkeys(("L", "lip", "lipschitz_constant", "smooth"), ("lipschitz", "smoothness")),
    **dict.fromkeys(("mu", "strong", "strongly_convex"), ("strong_convexity",)),
}

# What else a choice is called: ours, where it is among the choices; by names without what is only spelling.
WORDS: dict[str, str] = {
    **dict.fromkeys(("gpu", "cuda", "rocm", "cublas", "cusparse"), "cupy"),
    **dict.fromkeys(("cpu", "jit", "llvm", "default"), "numba"),
    **dict.fromkeys(("np", "scipy", "python"), "numpy"),
    **dict.fromkeys(("pytorch", "tensor"), "torch"),
    **dict.fromkeys(("jax", "arrayapistrict", "xp"), "array_api"),
    **dict.fromkeys(("pcg", "conjugategradient", "conjugategradients", "conjugate"), "cg"),
    **dict.fromkeys(("gs", "seidel"), "gauss_seidel"),
    **dict.fromkeys(("bicgstabl", "biconjugategradients"), "bicgstab"),
    **dict.fromkeys(("diag", "diagonal", "scaling", "inversediagonal"), "jacobi"),
    **dict.fromkeys(("sgs", "symmetricgaussseidel", "symgs"), "ssor"),
    **dict.fromkeys(("cheb", "cheby", "poly"), "chebyshev"),
    **dict.fromkeys(("iluc", "ilut", "ilu0", "iluk", "incompletelu", "spilu"), "ilu"),
    **dict.fromkeys(("ic", "ic0", "icc", "ict", "ichol"), "incomplete_cholesky"),
    **dict.fromkeys(("rugestuben", "smoothedaggregation", "pyamg", "boomeramg", "gamg"), "amg"),
    **dict.fromkeys(("bjacobi", "blockdiagonal"), "block_jacobi"),
    **dict.fromkeys(("svd", "gelsd", "qr"), "lapack"),
    **dict.fromkeys(("automatic", "best", "any"), "auto"),
}

# What is not built here: the module of another library that has it, and what of ours is nearest, once it is here.
ELSEWHERE: dict[str, tuple[str, str]] = {
    **dict.fromkeys(("linearoperator", "aslinearoperator"), ("scipy.sparse.linalg", "as_operator")),
    **dict.fromkeys(("lgmres", "gcrotmk"), ("scipy.sparse.linalg", "gmres")),
    **dict.fromkeys(("bicg", "cgs", "qmr", "tfqmr"), ("scipy.sparse.linalg", "bicgstab")),
    **dict.fromkeys(("splu", "factorized"), ("scipy.sparse.linalg", "prepare")),
    **dict.fromkeys(("eigsh", "eigs", "svds", "lobpcg"), ("scipy.sparse.linalg", "condition_number")),
    **dict.fromkeys(("lu", "qr", "cholesky"), ("scipy.linalg", "solve")),
    **dict.fromkeys(("multigrid", "amg", "rugestuben", "smoothedaggregation"), ("pyamg", "precondition")),
    **dict.fromkeys(("newtonkrylov", "root", "broyden1"), ("scipy.optimize", "fixed_point")),
    **dict.fromkeys(("minimize", "lbfgs"), ("scipy.optimize", "momentum")),
    "spsolve": ("scipy.sparse.linalg", "solve"),
    "spilu": ("scipy.sparse.linalg", "precondition"),
    "lsqr": ("scipy.sparse.linalg", "lsmr"),
    "svd": ("scipy.linalg", "polar"),
    "fgmres": ("pyamg.krylov", "gmres"),
}


def like(name: str) -> str:
    """The name without what is only spelling: case, spaces, hyphens and underscores."""
    return "".join(part for part in name.casefold() if part not in " -_\t")


def named_in(given: Any, names: Iterable[S]) -> S | None:
    """The one of the names that is the given one, whatever the spelling; None where there is none."""
    if not isinstance(given, str):
        return None
    names = tuple(names)
    if given in names:
        return given
    plain = like(given)
    return next((name for name in names if like(name) == plain), None) if plain else None


def suggestion(given: Any, names: Iterable[str]) -> str:
    """ "; did you mean 'cg'?" where one of the names is near, or who else has it; otherwise nothing."""
    if not isinstance(given, str):
        return ""
    names, word = tuple(names), WORDS.get(like(given), given)
    near = word if word in names else nearest(given, names)
    if near:
        return f"; did you mean {near!r}?"
    other = elsewhere(given, names) or elsewhere(word, names)
    return f"; {other}" if other else ""


def nearest(given: str, names: Iterable[str]) -> str | None:
    """The one of the names that is near; None where there is none."""
    spelt = {like(name): name for name in names}
    near = difflib.get_close_matches(like(given), spelt, 1)
    return spelt[near[0]] if near else None


def elsewhere(name: str, ours: Iterable[str] = ()) -> str:
    """What does the work of a function that is not built here, ours and another's; nothing where none is known."""
    known = ELSEWHERE.get(like(name))
    if known is None:
        return ""
    ours = set(ours)
    library, nearest = known
    while nearest not in ours and nearest in ELSEWHERE:
        _, nearest = ELSEWHERE[nearest]
    take = f"rv.{nearest}, or " if nearest in ours else ""
    return f"{name} is not built here; what does it is {take}{library}.{name}"


def choice(argument: str, given: Any, names: Iterable[S], *, more: str = "", error: type[Exception] = InputError) -> S:
    """The one of the names that was meant, whatever its spelling.

    Every argument that is one of several words is read by this. None is "auto", where that is one of them.

    Parameters
    ----------
    argument : str
        What it was given as.
    given : object
    names : iterable of str
    more : str
        What is taken besides, for the message.
    error : type of exception

    Raises
    ------
    error
        Where there is no such name; with the nearest.
    """
    names = tuple(names)
    found = named_in("auto" if given is None else given, names)
    if found is not None:
        return found
    raise error(not_chosen(argument, given, names, more))


def not_chosen(argument: str, given: Any, names: Iterable[str], more: str = "") -> str:
    """What is said of what is none of the names."""
    names = tuple(names)
    own = getattr(given, "__name__", None)
    if callable(given) and named_in(own, names):
        return f"{argument}: found the function {own}; wanted its name, {named_in(own, names)!r}"
    return f"{argument}: found {given!r}; wanted one of {', '.join(names)}{more}{suggestion(given, names)}"


def choose_fields(owner: Any, **names: Iterable[str]) -> None:
    """Put the names that were meant into fields of a dataclass, which may be frozen: for each the names there are."""
    for field, known in names.items():
        given = getattr(owner, field)
        if not (isinstance(given, str) and given in known):  # as it mostly is
            object.__setattr__(owner, field, choice(field, given, known))


def meant(name: str, names: Iterable[str]) -> str:
    """ "; did you mean 'rtol'?" where a parameter of those names has another name elsewhere, or one that is near."""
    names = set(names)
    for spelt in (name, name.casefold()):
        for ours in SPELLINGS.get(spelt, ()):
            if ours in names:
                return f"; did you mean {ours!r}?"
    return suggestion(name, names - {"self"})


def unknown_parameter(function: str, name: str, names: Iterable[str]) -> ParameterError:
    """The error for a keyword that a function does not have, with the one that was meant."""
    return ParameterError(f"{function}() has no parameter {name!r}{meant(name, names)}")


def parameter_of_another(method: str, name: str, own: Iterable[str], common: Iterable[str]) -> ParameterError:
    """The error for a keyword that a method does not have, nor the function that takes some besides the method's."""
    own = tuple(own)
    has = f"{method} has no such parameter; it has {', '.join(own) or 'none'}"
    return ParameterError(f"{name}: {has}{meant(name, {*own, *common})}")


def parameter_of_a_method(name: str, known: Iterable[str], common: Iterable[str]) -> ParameterError:
    """The error for a keyword given while no method is named: one of some method's, or of none."""
    known = set(known)
    said = meant(name, known.union(common) - {name})
    if name in known or not said:
        return ParameterError(f'{name}: is a parameter of a method; name one instead of method="auto"')
    return ParameterError(f"{name}: there is no such parameter{said}")


def refusing_other_names(function: F, names: Iterable[str] | None = None, *, differentiable: bool = False) -> F:
    """The function as users call it: other names than its own are refused with what was meant.

    So are more arguments by position than it takes. Tensors that require gradients are warned of, unless it is
    ``differentiable``.

    Parameters
    ----------
    function : callable
    names : iterable of str, optional
        Its parameters, where its signature does not tell. One that ends in the parameters of its methods has others
        looked at where the method is.
    differentiable : bool
    """
    parameters = inspect.signature(function).parameters
    open_ended = names is None and any(one.kind is inspect.Parameter.VAR_KEYWORD for one in parameters.values())
    known = frozenset(parameters if names is None else names)
    called = function.__qualname__.removesuffix(".__init__")
    modules, by_position = sys.modules, _by_position(parameters)
    most = math.inf if by_position is None else len(by_position)

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        if len(args) > most:
            raise _too_many(called, len(args), by_position or (), known)
        if not open_ended and not known.issuperset(kwargs):
            raise unknown_parameter(called, next(name for name in kwargs if name not in known), known)
        if not differentiable and "torch" in modules:
            for value in (*args, *kwargs.values()):
                if getattr(value, "requires_grad", False):
                    warn_of_gradients(called)
                    break
        return function(*args, **kwargs)

    return call  # type: ignore[return-value]


def _by_position(parameters: Mapping[str, inspect.Parameter]) -> tuple[str, ...] | None:
    """The parameters that may be given by position; None where there is no end of them."""
    kinds = {one.kind for one in parameters.values()}
    if inspect.Parameter.VAR_POSITIONAL in kinds:
        return None
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return tuple(name for name, one in parameters.items() if one.kind in positional)


def _too_many(called: str, found: int, by_position: Iterable[str], known: Iterable[str]) -> TypeError:
    """The error for more arguments by position than there may be."""
    own = [name for name in by_position if name != "self"]
    by_name = set(known).difference(by_position)
    such = next((name for name in ("x0", "z0", "rtol", *sorted(by_name)) if name in by_name), None)
    besides = "" if such is None else f"; the others are given by name, such as {such}="
    given = found - len(list(by_position)) + len(own)
    return TypeError(f"{called}() takes {' and '.join(own) or 'nothing'} by position, but {given} were given{besides}")


def warn_of_gradients(called: str) -> None:
    """Warn that a tensor that requires gradients was given to what has none, unless none are asked for."""
    if sys.modules["torch"].is_grad_enabled():
        warn_caller(
            f"{called}: no gradients flow through it, but a tensor that requires them was given; rv.layers.solve "
            "and the functions beside it are differentiable; pass tensor.detach() where no gradient is wanted",
            GradientWarning,
        )
