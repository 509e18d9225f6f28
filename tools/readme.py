"""``make readme``: the README's table of recorded results, written anew from the runs."""

import re
from pathlib import Path

from aeflow_utils.profiles import EVIDENCE
from aeflow_utils.show.tables import recorded_overview

HOME = Path(__file__).resolve().parent.parent
RESULTS = re.compile(r"(?<=<!-- results -->\n).*?(?=<!-- /results -->)", re.DOTALL)


def results() -> str:
    """The recorded results as a Markdown table."""
    table = recorded_overview(EVIDENCE)
    lines = [[*table.columns], ["---"] + ["--:"] * (len(table.columns) - 1)]
    lines += table.to_numpy().tolist()
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


if __name__ == "__main__":
    readme = HOME / "README.md"
    text = RESULTS.sub(lambda _: results(), readme.read_text(encoding="utf-8"))
    readme.write_text(text, encoding="utf-8")
