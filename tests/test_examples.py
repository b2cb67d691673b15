import subprocess
import sys
from pathlib import Path

EXAMPLES = Path(__file__).parent.parent / "examples"


def test_a_search_in_a_loop_of_ones_own():
    done = subprocess.run(
        [sys.executable, EXAMPLES / "own_loop.py", "--epochs", "2"], capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stderr
    assert "epoch 2: loss" in done.stdout
    assert "architecture: {'one':" in done.stdout
