"""``python -m didact`` is ``didact``."""

import os
import sys

from didact.cli import main

if __name__ == "__main__":
    main()
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        # PyTorch's threads for sharded weights and gloo now and then abort a process that ends in the usual way
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)
