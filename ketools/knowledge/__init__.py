"""What is known about facts: relations, traits, probes, and whether an answer states a target."""
