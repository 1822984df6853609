"""`facealign release`, also in a checkout that is not installed."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from facealign.console import run_verb

if __name__ == "__main__":  # not in worker processes, which import this file
    run_verb("release")
