"""Side-by-side measurements against peers; each module is a program: ``python -m wan_lite.benchmarks.vae``."""
