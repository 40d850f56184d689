"""GRACE as its paper has it: near a stored key, a stored value stands in the place of a block's output."""
