"""ketools: edit what a served language model knows, verified, scoped, journalled and undoable."""

__version__ = "0.1.0"
