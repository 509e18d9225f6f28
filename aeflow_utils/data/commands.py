"""What ``python -m aeflow_utils data`` says and does."""

from __future__ import annotations

from aeflow_utils.config import FolderConfig
from aeflow_utils.data import cache, check, downloads
from aeflow_utils.data.catalog import SPECS, get_spec
from aeflow_utils.errors import UserError
from aeflow_utils.paths import paths

PROBLEMS_SHOWN = 20


def list_all(name: str) -> None:
    """Every data set, or the one of this name: what is here, or how to get it."""
    for key, spec in {name: get_spec(name)}.items() if name else SPECS.items():
        try:
            counts = check.counts(key)
            here = counts["found"].any()
            state = check.describe(counts) if here else f"absent: {spec.how_to_get}"
        except UserError as error:  # of one set: the others are told all the same
            state = f"damaged: {error}"
        print(f"{key:12} {state.replace(chr(10), '; ')}")


def check_one(name: str) -> None:
    """One data set against its official counts, and what is wrong with its images."""
    counts = check.counts(name)
    print(f"{counts.to_string(index=False)}\n\n{check.describe(counts)}")
    problems = check.problems(name)
    print(f"\n{len(problems)} images with a problem")
    if len(problems):
        print(problems.to_string(index=False, max_rows=PROBLEMS_SHOWN))


def fetch(name: str) -> None:
    """Download, verify and unpack a data set.

    Raises:
        UserError: its authors' host cannot be asked by a program.
    """
    spec = get_spec(name)
    if not spec.archives:
        raise UserError(f"{spec.title} cannot be fetched by a program: {spec.how_to_get}")
    target = paths().data / spec.folders[0]
    print(f"{spec.title}: {spec.citation}\nlicence: {spec.licence}\ninto: {target}", flush=True)
    for archive in spec.archives:
        downloads.unpack(downloads.fetch(archive, paths().data / "downloads"), target)
    print(check.counts(name).to_string(index=False))


def cached(name: str, clear: bool = False) -> None:
    """What the cache holds and how much room it takes; the action ``clear`` removes it."""
    if name not in ("", *SPECS, FolderConfig.dataset):
        raise UserError(
            f"the cache knows {', '.join(SPECS)} and {FolderConfig.dataset}: not {name}"
        )
    folder = paths().cache
    arrays = (cache.remove_arrays if clear else cache.stored_arrays)(folder, name)
    for array in arrays:
        key = array.key
        of = "-".join(part for part in (key.get("dataset", "?"), key.get("category", "")) if part)
        what = key.get("what")
        if "encoder" in key:
            what = f"{key['encoder']}, stride {key['stride']}, {key.get('arithmetic', 'not fused')}"
        print(f"{array.n_bytes / 1e6:10,.1f} MB  {of:12} {key.get('size', '?')} px  {what}")
    end = "freed" if clear else "in all, which `data clear` frees"
    print(f"{sum(array.n_bytes for array in arrays) / 1e6:10,.1f} MB {end}: {folder}")
