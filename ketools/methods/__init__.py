"""Editing methods, one folder each; see `base` for the contract and `registry` for how they are found."""
