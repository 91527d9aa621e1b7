"""``python -m distill_sql.cli``, which is ``distill-sql``."""

import sys

from distill_sql.cli import main

if __name__ == "__main__":
    sys.exit(main())
