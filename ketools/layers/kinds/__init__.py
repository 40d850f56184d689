"""The kinds of artefacts, one file each, named by its `form`; `KIND` is its class."""
