"""``python -m wan_lite.demo``."""

from .run import main

if __name__ == "__main__":
    main()
