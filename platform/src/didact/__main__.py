"""``python -m didact`` is ``didact``."""

from didact.cli import main

if __name__ == "__main__":
    main()
