"""`python -m medvistagym_core`: the command line where the `medvistagym` script is not on the path."""

from medvistagym_core.cli import run_program

run_program()
