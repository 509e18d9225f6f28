"""``make address URL=https://host/owner/name``: say once where this repository lives.

`CITATION.cff` keeps the address, as ``repository-code``; the README's badges follow from it, and
what a notebook clones where it is opened alone. With no URL all are as they were without one.
"""

import re
import sys
from pathlib import Path
from urllib.parse import quote

HOME = Path(__file__).resolve().parent.parent
ARTICLE = "notebooks/00_blogpost.ipynb"
BADGES = re.compile(r"(?<=<!-- badges -->\n).*?(?=<!-- /badges -->)", re.DOTALL)
ADDRESS = re.compile(r"^repository-code: (.*)\n", re.MULTILINE)
IN_NOTEBOOK = re.compile(r'(?<="address = \\")[^"\\]*')


def badges(url: str) -> str:
    """The README's badges, a line each; without an address only the one that needs none."""
    shown = [("Licence: MIT", "https://img.shields.io/badge/licence-MIT-blue", "LICENSE")]
    if url:
        tests = f"{url}/actions/workflows/test.yml"
        binder = f"https://mybinder.org/v2/git/{quote(url, safe='')}/HEAD"
        binder += f"?labpath={quote(ARTICLE, safe='')}"
        shown.append(("Tests", f"{tests}/badge.svg", tests))
        shown.append(("Binder", "https://mybinder.org/badge_logo.svg", binder))
    if url.startswith("https://github.com/"):  # Colab opens notebooks of no other host
        colab = "https://colab.research.google.com"
        page = f"{colab}/github/{url.split('/', 3)[3]}/blob/HEAD/{ARTICLE}"
        shown.append(("Colab", f"{colab}/assets/colab-badge.svg", page))
    return "".join(f"[![{name}]({image})]({page})\n" for name, image, page in shown)


def address(home: Path = HOME) -> str:
    """The address that `CITATION.cff` holds; empty where it holds none."""
    found = ADDRESS.search((home / "CITATION.cff").read_text(encoding="utf-8"))
    return found[1] if found else ""


def set_address(url: str, home: Path = HOME) -> None:
    """Write the address, or its absence, into citation, README and notebooks under `home`.

    Raises:
        ValueError: `url` is neither empty nor ``https://host/owner/name``.
    """
    url = url.rstrip("/").removesuffix(".git")
    if url and not re.fullmatch(r"https://[\w.-]+(/[\w.-]+){2,}", url):
        raise ValueError(f"'{url}' is not an address such as https://host/owner/name")
    citation = ADDRESS.sub("", (home / "CITATION.cff").read_text(encoding="utf-8"))
    if url:
        citation = re.sub(
            r"^license: .*\n", rf"\g<0>repository-code: {url}\n", citation, flags=re.M
        )
    (home / "CITATION.cff").write_text(citation, encoding="utf-8")
    readme = (home / "README.md").read_text(encoding="utf-8")
    (home / "README.md").write_text(BADGES.sub(lambda _: badges(url), readme), encoding="utf-8")
    for notebook in home.glob("notebooks/*.ipynb"):
        text = IN_NOTEBOOK.sub(url, notebook.read_text(encoding="utf-8"))
        notebook.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    try:
        set_address(*sys.argv[1:2] or [""])
    except ValueError as error:
        sys.exit(f"error: {error}")
