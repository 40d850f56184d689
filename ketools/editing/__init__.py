"""The pipeline of an edit: compute, verify on the serving engine, commit or refuse; consolidation."""
