"""`python -m medvistagym_trl.science`: run a study, tabulate it, plot it."""

import sys

from medvistagym_core.plugins import tolerate_broken_metadata

if __name__ == "__main__":
    tolerate_broken_metadata()  # before torch and others are imported, which read that of every distribution
    from medvistagym_trl.science._program import main

    sys.exit(main())
