"""Spaces: named lines of versions with a parent."""
