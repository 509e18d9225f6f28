"""What stands beside the code agrees with it: citation, address, data statement, reference."""

import re
import shutil
import tomllib

import pytest
import yaml
from helpers import REPOSITORY

from aeflow_utils.data.catalog import SPECS
from tools.address import address, badges, set_address
from tools.api import page
from tools.readme import RESULTS, results

YAML = [
    "CITATION.cff",
    "environment.yml",
    *(f.relative_to(REPOSITORY).as_posix() for f in sorted(REPOSITORY.glob(".github/**/*.yml"))),
]
EXAMPLE = "https://example.org/owner/name"


def text(name):
    return (REPOSITORY / name).read_text(encoding="utf-8")


def project():
    return tomllib.loads(text("pyproject.toml"))["project"]


@pytest.mark.parametrize("name", YAML)
def test_yaml_can_be_read(name):
    assert isinstance(yaml.safe_load(text(name)), dict)


def test_the_citation_names_this_version_its_licence_the_paper_and_the_study():
    citation = yaml.safe_load(text("CITATION.cff"))
    assert (citation["version"], citation["license"]) == (project()["version"], "MIT")
    authors = [[a["family-names"] for a in work["authors"]] for work in citation["references"]]
    assert authors == [
        ["Zhao", "Ding", "Zhang"],
        ["Athmer", "Praat", "Brandt", "Baratov", "Wijnheijmer"],
    ]
    assert project()["version"] in text("CHANGELOG.md")


def test_the_workflow_runs_the_oldest_python_that_the_project_allows():
    matrix = yaml.safe_load(text(".github/workflows/test.yml"))["jobs"]["test"]["strategy"]
    versions = {row["python"] for row in matrix["matrix"]["include"]}
    assert project()["requires-python"].removeprefix(">=").rsplit(".", 1)[0] in versions


@pytest.fixture
def copy(tmp_path):
    for name in ("CITATION.cff", "README.md"):
        shutil.copy(REPOSITORY / name, tmp_path)
    shutil.copytree(REPOSITORY / "notebooks", tmp_path / "notebooks")
    return tmp_path


def between_markers(home):
    readme = (home / "README.md").read_text(encoding="utf-8")
    return re.search("<!-- badges -->\n(.*?)<!-- /badges -->", readme, re.DOTALL)[1]


def test_the_badges_are_those_of_the_address_in_the_citation():
    assert between_markers(REPOSITORY) == badges(address())


def test_an_address_is_written_once_and_can_be_taken_away(copy):
    set_address("", copy)
    before = {file: file.read_bytes() for file in copy.rglob("*.*") if file.is_file()}
    set_address(f"{EXAMPLE}.git", copy)
    set_address(f"{EXAMPLE}/", copy)
    citation = yaml.safe_load((copy / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["repository-code"] == address(copy) == EXAMPLE
    assert between_markers(copy).count("\n") == 3
    assert f"({EXAMPLE}/actions/workflows/test.yml)" in between_markers(copy)
    assert "/v2/git/https%3A%2F%2Fexample.org%2Fowner%2Fname/HEAD" in between_markers(copy)
    assert "colab" not in between_markers(copy)
    for notebook in (copy / "notebooks").glob("*.ipynb"):
        assert f'"address = \\"{EXAMPLE}\\"' in notebook.read_text(encoding="utf-8")
    set_address("", copy)
    assert {file: file.read_bytes() for file in before} == before


def test_without_an_address_every_badge_leads_into_the_repository():
    assert re.findall(r"\]\((?!https)([^)]+)\)", badges("")) == ["LICENSE"]
    assert badges("").count("](") == 2


def test_colab_is_offered_where_it_can_open_the_notebook():
    # No account can have a dot in its name there.
    shown = badges("https://github.com/example.org/name")
    assert "/github/example.org/name/blob/HEAD/notebooks/00_blogpost.ipynb" in shown


@pytest.mark.parametrize("url", ["example.org/owner/name", "http://example.org/a/b", "https://x/"])
def test_what_is_no_address_is_refused_and_changes_nothing(url, copy):
    before = (copy / "CITATION.cff").read_bytes()
    with pytest.raises(ValueError, match="is not an address"):
        set_address(url, copy)
    assert (copy / "CITATION.cff").read_bytes() == before


def plain(words):
    return " ".join(words.replace("`", "").split())


def test_the_data_statement_says_of_each_set_what_the_catalog_says():
    _, *sections = re.split(r"^## (?=.*\n\n\* \*\*Shows)", text("DATA.md"), flags=re.MULTILINE)
    stated = dict(section.split("\n", 1) for section in sections)
    assert list(stated) == [spec.title for spec in SPECS.values()]
    for spec in SPECS.values():
        here = plain(stated[spec.title])
        images = sum(n for counts in spec.counts.values() for n in counts.values())
        for fact in (spec.shows, spec.licence, spec.citation, spec.how_to_get, f"{images:,}"):
            assert fact in here, f"{spec.title}: {fact}"


def test_the_reference_is_that_of_these_docstrings():
    assert text("docs/api.md") == page(), "run: make api"


def test_the_readme_shows_the_recorded_results_as_they_are(monkeypatch):
    monkeypatch.setenv("AEFLOW_HOME", str(REPOSITORY))
    assert RESULTS.search(text("README.md"))[0] == results(), "run: make readme"
