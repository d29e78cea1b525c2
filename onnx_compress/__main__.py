"""`python -m onnx_compress` is the command line."""

from __future__ import annotations

import sys

from onnx_compress.compiler.cli.main import main

sys.exit(main())
