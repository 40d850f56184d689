"""What runs inside vLLM's own process: it imports the standard library, torch and vLLM only.

Install it beside vLLM with `pip install --no-deps ketools`.
"""
