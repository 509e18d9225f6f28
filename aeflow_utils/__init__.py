"""Is AE-FLOW reproducible? The names that a notebook starts from, imported when first asked for.

>>> from aeflow_utils import figures, find, get_profile, summary, tables

Everything else has its place in a room: `metrics`, `data`, `models`, `study`, `show`, `article`
and `own`; each imports from those before it. To see how the method works, begin with
`models/ae_flow.py`.
"""

from importlib import import_module

_HOMES = {
    "RunConfig": "config",
    "get_profile": "profiles",
    "plan": "study.experiments",
    "run_all": "study.experiments",
    "splits_of": "study.experiments",
    "load_system": "study.systems",
    "find": "study.results",
    "summary": "study.results",
    "label_title": "study.results",
    "ensembles": "study.ensemble",
}
_MODULES = ("style", "figures", "image_figures", "tables", "ensemble_figures", "ensemble_tables")
__all__ = [*_HOMES, *_MODULES]


def __getattr__(name: str) -> object:
    if name in _MODULES:
        return import_module(f"aeflow_utils.show.{name}")
    if name in _HOMES:
        return getattr(import_module(f"aeflow_utils.{_HOMES[name]}"), name)
    raise AttributeError(f"aeflow_utils has no '{name}'; it offers {', '.join(__all__)}")
