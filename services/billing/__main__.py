"""The entry point of `python -m services.billing`: the service and its subcommands."""

from services.billing.cli import main

main()
