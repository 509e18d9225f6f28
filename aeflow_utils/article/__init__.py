"""What only the article and its ledger of claims need; notebooks and commands alone import it."""
