"""Agents built on the tools: importable here, runnable from the top-level `agents/` folder."""
