"""The command line: options in, figures and messages out.

Each command has a module with its options. It parses them, calls one public function
of the Python API, and prints what that returns. Nothing here is public but the command
`mmevent` itself. Start reading at `main.py`, then `fit.py`.
"""

__all__: list[str] = []
