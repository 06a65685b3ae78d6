"""Runs the command line as ``python -m didact``."""

from didact.cli import main

if __name__ == "__main__":
    main()
