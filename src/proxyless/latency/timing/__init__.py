"""The one timing program: it runs in this process, in worker processes, and on devices that lack this package.

It needs the standard library, numpy, and of this package ``errors``, ``files`` and ``machine``. ONNX Runtime is
imported when a model is loaded. A bundle carries it as it is, see :mod:`proxyless.bundle.application`.
"""
