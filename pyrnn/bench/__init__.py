"""Benchmarks: a file per operator or model names the cases; the harness times them, the report shows them."""
