"""`sluice resume` (verbs.py)."""

from cli.control.verbs import verb_command
from shared.runtime.program_name import program_name
from shared.topics.control import Verb

main = verb_command(Verb.RESUME)

if __name__ == "__main__":
    main(prog_name=program_name("resume"))
