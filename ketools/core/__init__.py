"""Requests, artefacts, evidence, errors and progress: what every other package speaks of. Imports no torch."""
