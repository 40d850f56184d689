"""Benchmarks: speed and memory, each number with its n; `ketools bench NAME --json`."""
