"""`sluice bounce` (verbs.py)."""

from cli.control.verbs import verb_command
from shared.runtime.commands import run_command
from shared.topics.control import Verb

main = verb_command(Verb.BOUNCE)

if __name__ == "__main__":
    run_command(main, "bounce")
