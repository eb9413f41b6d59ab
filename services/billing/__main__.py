"""`python -m services.billing`: the service, and its verbs."""

from services.billing.cli import main

main()
