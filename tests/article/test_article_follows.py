"""The article says what the results say: other results make other sentences."""

import shutil

import nbformat
import pandas as pd
import pytest
from helpers import REPOSITORY
from nbclient import NotebookClient

from aeflow_utils.article.claims import cite, ledger
from aeflow_utils.article.evidence import Evidence
from aeflow_utils.article.notebooks import ARTICLE
from aeflow_utils.profiles import EVIDENCE


@pytest.fixture
def perturbed(home, monkeypatch):
    """The recorded results, but for AE-FLOW, which errs on no image of chest X-ray any more."""
    recorded = home / "results" / "recorded"
    shutil.copytree(REPOSITORY / "results" / "recorded", recorded)
    for folder in recorded.glob("*/runs/chest_xray--ae_flow*"):
        scores = pd.read_csv(folder / "scores.csv.gz")
        scores["image_score"] = scores["label"] + scores["image_score"].rank(pct=True) / 10
        scores.to_csv(folder / "scores.csv.gz", index=False)
    monkeypatch.setenv("AEFLOW_PROFILE", "laptop")


def sentences(notebook):
    """All text that the cells of an executed notebook show."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    data = [output.get("data", {}) for output in outputs]
    return "\n".join(part.get("text/markdown", part.get("text/plain", "")) for part in data)


def answer(text, question):
    return next(line for line in text.splitlines() if line.startswith(f"**{question}"))


def of_chest(text):
    return next(part for part in text.split(" On ") if part.startswith("Chest X-ray"))


def test_other_results_make_another_article(perturbed):
    committed = nbformat.read(REPOSITORY / "notebooks" / ARTICLE, 4)
    before = sentences(committed)
    client = NotebookClient(nbformat.from_dict(committed), timeout=300, kernel_name="python3")
    after = sentences(client.execute())

    was, now = (of_chest(answer(text, "Is AE-FLOW reproducible?")) for text in (before, after))
    assert "AE-FLOW reaches a test AUROC of 100.0 %" in now
    assert "AE-FLOW reaches a test AUROC of 100.0 %" not in was
    claim = cite(ledger(Evidence(EVIDENCE)), "medical").data
    assert claim in after
    assert claim not in before
    # What was not touched says what it said.
    untouched = "What was wrong with the published numbers?"
    assert answer(before, untouched) == answer(after, untouched)
    ensemble = "Does the ensemble know when it is wrong?"
    assert "ELPV" in answer(after, ensemble)
    assert "Chest X-ray" not in answer(after, ensemble)  # nothing is wrong there any more
