"""The edge: commands, and what they stand on."""

import os

# Ray reads it when it is imported, whoever does that first. By default, under `uv run`, it copies the working folder to each worker
# and calls uv there, which installs the copy in the place of the checkout, for good.
os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
