"""The thin module behind the notebooks of "Is AE-FLOW reproducible?"."""
