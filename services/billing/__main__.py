"""Runs the billing service and its subcommands: `python -m services.billing`."""

from services.billing.cli import main

main()
