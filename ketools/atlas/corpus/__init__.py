"""Training documents for the bundled model, drawn from its world."""
