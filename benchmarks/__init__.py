"""Side-by-side measurements against peers, in one table: ``python -m wan_lite.benchmarks``."""
