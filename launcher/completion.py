"""Completes the words of a command line: the scripts for the shells, and the candidates.

A shell's script runs the launcher's command `__complete`, which prints one candidate per line. This
module uses only the standard library.
"""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from launcher.commands import COMMANDS, module_environment

# This command of the launcher completes the words before the cursor.
COMPLETE: Final = "__complete"
# The shell waits at most this long for the candidates.
COMPLETE_TIMEOUT_S: Final = 30
SCRIPTS: Final = {
    "bash": """_sluice() {
    local IFS=$'\\n'
    COMPREPLY=($("${COMP_WORDS[0]}" __complete "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null))
}
complete -o default -F _sluice sluice ./sluice
""",
    "zsh": """#compdef sluice
_sluice() {
    local -a found
    found=(${(f)"$(${(Q)words[1]} __complete "${(@)words[2,CURRENT]}" 2>/dev/null)"})
    if (( $#found )); then compadd -a found; else _files; fi
}
compdef _sluice sluice ./sluice
""",
    "fish": """function __sluice_complete
    set -l words (commandline -opc) (commandline -ct)
    set -l found ($words[1] __complete $words[2..] 2>/dev/null)
    if set -q found[1]
        printf '%s\\n' $found
    else
        __fish_complete_path (commandline -ct)
    end
end
complete -c sluice -f -a '(__sluice_complete)'
""",
}


# A function that runs a module with this environment. It returns the module's output, or "" if the
# module does not end in time.
Run = Callable[[str, Mapping[str, str]], str]


def run_with(python: Path) -> Run:
    """Return a function that runs modules with this interpreter."""

    def run(module: str, env: Mapping[str, str]) -> str:
        try:
            done = subprocess.run(
                [python, "-m", module],
                stdin=subprocess.DEVNULL,
                env=env,
                capture_output=True,
                text=True,
                timeout=COMPLETE_TIMEOUT_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return ""
        return done.stdout

    return run


def completions(words: Sequence[str], python: Path, run: Run | None = None) -> list[str]:
    """Return the candidates for the last word; if there are none, the shell completes file names.

    If the words name a Click command, `run` starts it with `python`, and the command finds its
    candidates. No other command is started, and nothing is installed.
    """
    *before, last = words or ("",)
    if not before:
        return [name for name in COMMANDS if name.startswith(last)]
    name = before[0]
    if name == "completion":
        return [shell for shell in SCRIPTS if shell.startswith(last)]
    if name == "help":
        is_first = len(before) == 1
        return [each for each in COMMANDS if is_first and each.startswith(last)]
    command = COMMANDS.get(name)
    if command is None or not command.is_click or not python.exists():
        return []
    shown = f"./sluice {name}"
    # Click reads its request from a variable that is named after the program.
    variable = f"_{shown.replace('-', '_').replace('.', '_')}_COMPLETE".upper()
    request = {
        variable: "bash_complete",
        "COMP_WORDS": shlex.join(["sluice", *before[1:], last]),
        "COMP_CWORD": str(len(before)),
    }
    said = (run or run_with(python))(command.module, {**module_environment(), **request})
    # Each line is TYPE,VALUE. For a file or a folder, Click lets the shell find the candidates.
    pairs = (line.partition(",") for line in said.splitlines())
    return [value for kind, _, value in pairs if kind == "plain"]
