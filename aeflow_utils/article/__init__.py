"""What only the article and its ledger of claims need; notebooks and commands alone import it.

>>> from aeflow_utils import article
>>> article.claims.ledger(article.evidence.Evidence("laptop"))
"""

from importlib import import_module
from types import ModuleType


def __getattr__(name: str) -> ModuleType:
    """A file of this room, imported when first asked for."""
    if name.startswith("_"):
        raise AttributeError(name)
    return import_module(f"{__name__}.{name}")
