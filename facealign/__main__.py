"""`python -m facealign VERB`."""

from facealign.console import main

if __name__ == "__main__":  # not in worker processes, which import this file
    main()
