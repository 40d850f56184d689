"""The serving engine: vLLM over HTTP, any number of replicas, edits as adapters."""
