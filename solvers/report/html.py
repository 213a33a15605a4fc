"""What is told as HTML, for notebooks: no scripts, nothing from elsewhere, in the colours of the page around it."""

from __future__ import annotations

import numpy as np

from .facts import Counts, Curve, Facts, Outcome, typeset
from .svg import escaped, svg
from .text import cut_reason, shortened

__all__ = ["DARK", "LIGHT", "in_html"]

MOST = 200  # characters of a name or a value

# Paper and ink are the notebook's where it names them. The others have a contrast of at least 4.5 to either paper, but
# for grid lines; what they mean is said by signs, words and kinds of lines as well.
LIGHT = {
    "paper": "#ffffff",
    "ink": "#1f2328",
    "faint": "#59636e",
    "grid": "#d8dee4",
    "curve": "#0a58a8",
    "reached": "#116329",
    "unfinished": "#7d4e00",
    "failed": "#a40e26",
}
DARK = {
    "paper": "#111418",
    "ink": "#e6edf3",
    "faint": "#a3adb8",
    "grid": "#353c45",
    "curve": "#6cb6ff",
    "reached": "#56d364",
    "unfinished": "#e3b341",
    "failed": "#ff8b82",
}
HOST = {
    "paper": "var(--jp-layout-color0,var(--vscode-editor-background,{}))",
    "ink": "var(--jp-content-font-color1,var(--vscode-editor-foreground,{}))",
}


def _colours(shades: dict[str, str]) -> str:
    return ";".join(f"--rv-{name}:{HOST.get(name, '{}').format(shade)}" for name, shade in shades.items())


# A notebook's own choice stands before that of the system: JupyterLab, VS Code, Colab and documentation name theirs.
_IS_LIGHT = '[data-jp-theme-light="true"],.vscode-light,[data-theme="light"],[theme="light"]'
_IS_DARK = '[data-jp-theme-light="false"],.vscode-dark,.vscode-high-contrast,[data-theme="dark"],[theme="dark"]'

STYLE = f"""
.rv-facts{{{_colours(LIGHT)}}}
@media (prefers-color-scheme:dark){{.rv-facts{{{_colours(DARK)}}}}}
:is({_IS_LIGHT}) .rv-facts{{{_colours(LIGHT)}}}
:is({_IS_DARK}) .rv-facts{{{_colours(DARK)}}}
.rv-facts{{box-sizing:border-box;max-width:46rem;margin:.3em 0;padding:.7em .9em;border:1px solid var(--rv-grid);
border-radius:6px;background:var(--rv-paper);color:var(--rv-ink);font:13px/1.45 system-ui,sans-serif;
overflow-wrap:anywhere}}
.rv-facts p{{margin:0 0 .6em;color:inherit}}
.rv-facts .rv-said{{font-weight:600;font-size:1.08em;margin-right:.5em}}
.rv-facts .rv-how,.rv-facts figcaption{{color:var(--rv-faint)}}
.rv-facts table{{border-collapse:collapse;margin:0 0 .6em;border:0;font-size:inherit;color:inherit;
background:transparent;table-layout:auto;width:auto;display:table}}
.rv-facts tr{{background:transparent;border:0}}
.rv-facts td,.rv-facts th{{padding:.1em 1.2em .1em 0;border:0;text-align:left;vertical-align:top;white-space:normal;
font-variant-numeric:tabular-nums;max-width:none;background:transparent;color:inherit}}
.rv-facts th{{font-weight:400;color:var(--rv-faint);overflow-wrap:normal}}
.rv-facts .rv-rows th{{white-space:nowrap}}
.rv-facts .rv-groups td{{text-align:right}}
.rv-facts .rv-groups thead th+th{{text-align:right}}
.rv-facts figure{{margin:.2em 0 .4em;max-width:560px}}
.rv-facts figcaption>span{{display:inline-block;margin-right:1.2em}}
.rv-facts svg{{display:block;width:100%;height:auto;overflow:visible}}
.rv-facts svg text{{font:11px system-ui,sans-serif;fill:var(--rv-faint)}}
.rv-facts svg .rv-on{{paint-order:stroke;stroke:var(--rv-paper);stroke-width:3px;stroke-linejoin:round}}
.rv-facts svg path,.rv-facts svg polyline{{fill:none}}
.rv-facts .rv-grid{{stroke:var(--rv-grid)}}
.rv-facts .rv-curve{{stroke:var(--rv-curve);stroke-width:1.6;stroke-linejoin:round}}
.rv-facts .rv-dots{{stroke:var(--rv-curve);stroke-width:3.2;stroke-linecap:round}}
.rv-facts .rv-line{{stroke-width:1.2}}
.rv-facts path.rv-tolerance{{stroke:var(--rv-unfinished);stroke-dasharray:6 3}}
.rv-facts text.rv-tolerance{{fill:var(--rv-unfinished)}}
.rv-facts path.rv-attainable{{stroke:var(--rv-faint);stroke-dasharray:1.5 3}}
.rv-facts .rv-bar{{stroke-width:1.3}}
.rv-facts circle.rv-end{{fill:var(--rv-reached);stroke:var(--rv-paper)}}
.rv-facts path.rv-end{{stroke:var(--rv-failed);stroke-width:2.2}}
.rv-facts span.rv-curve{{color:var(--rv-curve)}}
.rv-facts span.rv-reached{{color:var(--rv-reached)}}
.rv-facts span.rv-unfinished{{color:var(--rv-unfinished)}}
.rv-facts span.rv-failed{{color:var(--rv-failed)}}
.rv-facts rect.rv-reached{{fill:var(--rv-reached);stroke:var(--rv-reached)}}
.rv-facts rect.rv-unfinished{{fill:none;stroke:var(--rv-unfinished)}}
.rv-facts rect.rv-failed{{fill:none;stroke:var(--rv-failed);stroke-dasharray:3 2}}
"""

_LEGEND = {
    Outcome.REACHED: "■ converged",
    Outcome.UNFINISHED: "□ ended before converging",
    Outcome.FAILED: "▯ failed (dashed)",
}


def in_html(facts: Facts) -> str:
    """Facts as a ``div`` with its style, below 30 kB.

    Parameters
    ----------
    facts : Facts

    Returns
    -------
    str

    Examples
    --------
    >>> import numpy as np, resolvent as rv
    >>> from resolvent.solvers.report.facts import facts_of
    >>> "✓ converged" in in_html(facts_of(rv.cg(np.diag([1.0, 2.0]), np.ones(2))))
    True
    """
    colour = f" rv-{facts.outcome.name.lower()}" if facts.outcome else ""
    mark = f"{facts.outcome.value} " if facts.outcome else ""
    parts = [f'<p><span class="rv-said{colour}">{mark}{_text(facts.said)}</span>']
    parts.append(f'<span class="rv-how">{_text(facts.how)}</span></p>' if facts.how else "</p>")
    if facts.reason:
        parts.append(f"<p>{escaped(cut_reason(facts))}</p>")
    if facts.table is not None:
        head = "".join(f'<th scope="col">{_text(heading)}</th>' for heading in facts.table.headings)
        rows = "".join(
            f'<tr><th scope="row">{_text(name)}</th>{"".join(f"<td>{_text(value)}</td>" for value in values)}</tr>'
            for name, *values in facts.table.rows
        )
        parts.append(f'<table class="rv-groups"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>')
    if facts.rows:
        rows = "".join(
            f'<tr><th scope="row">{_text(name)}</th><td>{_text(value)}</td></tr>' for name, value in facts.rows
        )
        parts.append(f'<table class="rv-rows"><tbody>{rows}</tbody></table>')
    for chart in facts.charts:
        if drawn := svg(chart):
            legend = _of_counts(chart) if isinstance(chart, Counts) else _of_curve(chart)
            parts.append(f"<figure>{drawn}<figcaption>{''.join(legend)}</figcaption></figure>")
    return f'<div class="rv-facts"><style>{STYLE}</style>{"".join(parts)}</div>'


def _text(words: str) -> str:
    return escaped(shortened(typeset(words), MOST))


def _of_curve(curve: Curve) -> list[str]:
    """What is what, and what is not drawn."""
    legend = []
    if curve.drawn != curve.y_label:
        sign = "∙∙" if curve.scattered else "━"
        legend.append(f'<span><span class="rv-curve">{sign}</span> {escaped(curve.drawn)}</span>')
    if curve.end is not None:
        sign, name = ("●", "reached") if curve.end.reached else ("✕", "failed")
        legend.append(f'<span><span class="rv-{name}">{sign}</span> {escaped(curve.end.name)}</span>')
    missing = curve.y.size - curve.drawable()[0].size
    if missing:
        known = np.isfinite(curve.y)
        kinds = [("zero", bool((curve.y[known] <= 0).any()) and curve.logarithmic), ("not finite", not known.all())]
        legend.append(
            f"<span>not drawn: {missing} that are {' or '.join(kind for kind, found in kinds if found)}</span>"
        )
    return legend


def _of_counts(counts: Counts) -> list[str]:
    found = [(outcome, int(np.count_nonzero(counts.outcomes == outcome))) for outcome in Outcome]
    return [
        f'<span><span class="rv-{outcome.name.lower()}">{_LEGEND[outcome]}</span> {number}</span>'
        for outcome, number in found
        if number
    ]
