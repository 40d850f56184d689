"""The edit layer: composition of live edits, codebooks, and the artefact store."""
