"""A table of a benchmark's results file."""

import pandas as pd


def markdown(table: pd.DataFrame, first: str) -> str:
    """Lay a table out as Markdown.

    Parameters
    ----------
    table : DataFrame
        Cells of any kind; floats are written with four digits.
    first : str
        The head of the index.

    Returns
    -------
    str
        Several lines.
    """
    lines = [
        "| " + " | ".join([first, *map(str, table.columns)]) + " |",
        "|" + "---|" * (len(table.columns) + 1),
    ]
    for name, row in zip(table.index, table.to_numpy(), strict=True):
        cells = [f"{cell:.4f}" if isinstance(cell, float) else str(cell) for cell in row]
        lines.append("| " + " | ".join([str(name), *cells]) + " |")
    return "\n".join(lines)
