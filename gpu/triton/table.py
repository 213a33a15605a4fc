"""The table of compiled kernels: each as it is launched, so that it can be compiled where there is no device.

A module with kernels is named in ``MODULES`` and registers them below its functions. benchmarks/compiled_kernels.py
compiles every row for ``ARCHITECTURES`` and compares the registers and the memory that it takes with those on record.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

__all__ = ["ARCHITECTURES", "MODULES", "Row", "register", "rows"]

ARCHITECTURES = (80, 90, 100)  # A100, H100 and H200, B200
MODULES = (  # of this folder
    "rounding",
    "newton_schulz",
    "gated_kalmanet.states",
    "gated_kalmanet.norms",
    "gated_kalmanet.solve",
    "gated_kalmanet.readout",
    "gated_kalmanet.decode",
    "gated_kalmanet.backward",
    "delta_rule.forward",
    "delta_rule.backward",
)
_ROWS: dict[str, Row] = {}


@dataclass(frozen=True)
class Row:
    """A kernel with the types of its arguments and the values of its constants.

    Parameters
    ----------
    name : str
        Unique; by convention "what it does[what it is compiled for]".
    kernel : JITFunction
    signature : dict
        From its arguments to their types, "*bf16", "i32", "fp32", as Triton writes them; what is in ``constants`` is
        left out. Pointers are multiples of 16 bytes, as memory that torch allocates is; "i32:16" is an integer that is
        a multiple of 16, for which Triton compiles anew.
    constants : dict
        Values of arguments that are ``tl.constexpr``, and of those that Triton makes so: strides that are 1.
    num_warps, num_stages : int
    """

    name: str
    kernel: Any
    signature: Mapping[str, str]
    constants: Mapping[str, Any]
    num_warps: int = 4
    num_stages: int = 3

    def compiled(self, architecture: int) -> Any:
        """The kernel as Triton compiles it for an architecture, 90 say; no device is asked for."""
        import triton
        from triton.backends.compiler import GPUTarget
        from triton.compiler import ASTSource

        signature, attributes = {}, {}
        for place, argument in enumerate(self.kernel.arg_names):
            kind, _, multiple = self.signature.get(argument, "constexpr").partition(":")
            signature[argument] = kind
            if multiple or kind.startswith("*"):
                attributes[(place,)] = [["tt.divisibility", int(multiple or 16)]]
        source = ASTSource(self.kernel, signature, dict(self.constants), attributes)
        options = {"num_warps": self.num_warps, "num_stages": self.num_stages}
        return triton.compile(source, target=GPUTarget("cuda", architecture, 32), options=options)


def register(
    name: str,
    kernel: Any,
    signature: Mapping[str, str],
    constants: Mapping[str, Any],
    *,
    num_warps: int = 4,
    num_stages: int = 3,
) -> None:
    """Add a kernel to the table: one row, or one for each configuration of one that is ``launching.tuned``.

    Parameters
    ----------
    name, kernel, signature, constants, num_warps, num_stages :
        Of the ``Row``. Where the kernel is autotuned, the configurations have the constants that are tuned, and the
        numbers of warps and stages; the rows are then told apart by these.

    Raises
    ------
    ValueError
        If the name is taken, or an argument of the kernel is neither in ``signature`` nor in ``constants``, or in both.
    """
    configurations: Iterable[Any] = getattr(kernel, "stated", (None,))
    for configuration in configurations:
        row = Row(name, kernel, signature, constants, num_warps, num_stages)
        if configuration is not None:
            tuned = {**configuration.kwargs, "warps": configuration.num_warps, "stages": configuration.num_stages}
            row = Row(
                f"{name}{{{', '.join(f'{key}={value}' for key, value in tuned.items())}}}",
                kernel.fn,
                signature,
                {**constants, **configuration.kwargs},
                configuration.num_warps,
                configuration.num_stages,
            )
        arguments = sorted((*row.signature, *row.constants))
        if arguments != sorted(row.kernel.arg_names):
            wanted = ", ".join(row.kernel.arg_names)
            raise ValueError(f"signature, constants: found {', '.join(arguments)}; wanted each of {wanted} once")
        if row.name in _ROWS:
            raise ValueError(f"name: found {row.name!r} a second time; wanted one that no other kernel has")
        _ROWS[row.name] = row


def rows() -> dict[str, Row]:
    """All rows by name, in the order of ``MODULES``; this loads the modules, and with them Triton."""
    for module in MODULES:
        import_module(f"{__name__.rpartition('.')[0]}.{module}")
    return dict(_ROWS)
