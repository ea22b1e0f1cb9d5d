"""The notebooks on the versions of Colab's runtime, from their first cell on.

    make test-notebooks

Each notebook runs in IPython, in its own process and its own empty folder. The
environment has only the packages in colab.txt. The first cell installs this checkout
from a repository that the script makes. No cell may fail, the first cell may take a
minute, no package of the runtime may change, and `pip check` must print the same before
and after.
"""

import ast
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import notebooks

ROOT = Path(__file__).parents[1]
RUNS = {
    "quickstart": {},
    "invert_and_edit": {"source": "astronaut"},  # whose face the detector finds
    "train_your_own": {},
    "convert_weights": {},
}
# Values of fields and environment variables that make the first cell fail.
FAILURES = [({"version": "no_such_version"}, {}), ({}, {"PIP_NO_INDEX": "1"})]
FIRST = 60  # seconds that the first cell may take


def main():
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        make_repository(folder / "repository")
        for values, variables in FAILURES:
            check_failure(folder, values, variables)
        for name, values in RUNS.items():
            check(folder, name, values)


def make_repository(folder: Path):
    """A repository of the checkout as it lies there, committed or not."""
    git = ["git", "-c", "user.name=test", "-c", "user.email=test@localhost"]
    git += [f"--git-dir={folder}", f"--work-tree={ROOT}"]
    for command in (["init", "-qb", "main"], ["add", "-A"], ["commit", "-qm", "Test"]):
        subprocess.run([*git, *command], check=True, cwd=ROOT)


def check_failure(folder, values, variables):
    """A first cell that fails says so in one sentence, and no other cell runs."""
    restore()
    done = start(folder, "quickstart", values, variables, stdout=subprocess.PIPE)
    *_, sentence, end = done.stdout.decode().strip().splitlines()
    print(sentence, flush=True)
    assert sentence.startswith("Set-up stopped at `"), done.stdout.decode()
    assert end == "quickstart.ipynb failed in cell 0." and done.returncode == 1


def check(folder, name, values):
    """A notebook runs to its end, and leaves the runtime's packages as they were."""
    restore()
    packages, complaints = installed(), pip("check").stdout
    if start(folder, name, values, {}).returncode:
        sys.exit(1)
    after = installed()
    assert packages.items() <= after.items(), packages.items() - after.items()
    assert pip("check").stdout == complaints
    print(
        f"{name}.ipynb installed {', '.join(sorted(after.keys() - packages.keys()))}."
    )
    print(f"pip check says before and after: {complaints.strip()}", flush=True)


def start(folder, name, values, variables, **options):
    """Calls `run` in a process and a folder of its own."""
    own = tempfile.mkdtemp(dir=folder)
    # A new Colab runtime has no caches of XLA and pip.
    variables = os.environ | {"XDG_CACHE_HOME": own, "IPYTHONDIR": own} | variables
    variables.pop("GLIBC_TUNABLES", None)  # make's
    command = [sys.executable, __file__, folder / "repository", name, repr(values)]
    (work := Path(own, "work")).mkdir()
    return subprocess.run(command, cwd=work, env=variables, **options)


def run(repository: str, name: str, values: dict):
    """Runs a notebook in this process; SystemExit where a cell fails."""
    from IPython.core.interactiveshell import InteractiveShell

    sys.path[0], begin, codes = "", time.perf_counter(), []
    shell = InteractiveShell.instance()
    path = notebooks.COLABS / f"{name}.ipynb"
    for number, source in enumerate(notebooks.filled(path, values)):
        codes.clear()
        done = shell.run_cell(source.replace(notebooks.REPOSITORY, repository))
        if not done.success or any(codes) != (notebooks.REFUSED in source):
            sys.stdout.flush()
            print(f"{path.name} failed in cell {number}.")
            sys.exit(1)
        if number == 0:
            first = time.perf_counter() - begin
            # Processor time, so that other processes on the machine do not count.
            busy = sum(os.times()[2:4])
            assert busy <= FIRST, f"the first cell took {busy:.0f} s of a processor"
            _record_exits(codes)
    minutes = (time.perf_counter() - begin) / 60
    print(
        f"{path.name}: first cell {first:.0f} s ({busy:.0f} of a processor), "
        f"all {minutes:.1f} min"
    )


def _record_exits(codes: list):
    """Keeps the exit codes of commands, which a notebook ignores."""
    from styleprompter_jax import cli

    command = cli.main

    def main():
        codes.append(command())
        return codes[-1]

    cli.main = main


def restore():
    """Restores the environment to the packages in colab.txt."""
    listed = (Path(__file__).with_name("colab.txt")).read_text().lower()
    listed = {line.partition("==")[0].replace("_", "-") for line in listed.splitlines()}
    if foreign := installed().keys() - listed - {"pip"}:
        pip("uninstall", "-y", *foreign)


def installed() -> dict[str, str]:
    """Packages and their versions."""
    lines = pip("list", "--format=freeze").stdout.lower().replace("_", "-").splitlines()
    return dict(line.split("==") for line in lines)


def pip(*arguments):
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *arguments]
    return subprocess.run(command, capture_output=True, text=True)


if __name__ == "__main__":
    if sys.argv[1:]:
        run(sys.argv[1], sys.argv[2], ast.literal_eval(sys.argv[3]))
    else:
        main()
