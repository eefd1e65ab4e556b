"""Rows of a Markdown table that set the replica's figures beside the published ones."""

import numpy as np

NEAR = 0.1


def table(lines: list[str]) -> list[str]:
    """A table of the report."""
    head = "| quantity | real | replica | difference | within 10 % |"
    return [head, "|---|---|---|---|---|", *lines]


def line(what: str, published: float | None, ours: float, judged: bool = False, digits: int = 4) -> str:
    """A row that compares two values; medians and means are judged."""
    if published is None:
        return f"| {what} |  | {ours:.{digits}g} |  |  |"
    change = f"{(ours - published) / published:+.1%}" if published else f"{ours - published:+.{digits}g}"
    verdict = ("yes" if abs(ours - published) <= NEAR * abs(published) else "**no**") if judged else ""
    return f"| {what} | {published:.{digits}g} | {ours:.{digits}g} | {change} | {verdict} |"


def share_line(what: str, published: float | None, ours: float) -> str:
    """A row that compares two shares, with their difference in percentage points."""
    if published is None:
        return f"| {what} |  | {ours:.1%} |  |  |"
    return f"| {what} | {published:.1%} | {ours:.1%} | {100 * (ours - published):+.1f} points |  |"


def quantile_lines(what: str, published: dict[int, float], ours: np.ndarray) -> list[str]:
    """One row a published quantile."""
    names = {0: "min", 50: "median", 100: "max"}
    return [
        line(f"{what}, {names.get(q, f'{q} %')}", value, float(np.percentile(ours, q)), judged=q == 50)
        for q, value in published.items()
    ]
