"""What ``python run.pyz`` runs in a bundle: its program, once the one package that it cannot do without is found."""

import sys

try:
    from proxyless.bundle.program import main
except ImportError as error:
    print(f"run.pyz: numpy cannot be imported ({error}): pip install numpy onnxruntime", file=sys.stderr)
    sys.exit(2)

if __name__ == "__main__":
    sys.exit(main())
