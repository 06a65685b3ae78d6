"""The tutorial on plugins: its commands, files and output are tested in a fresh environment."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "tutorial" / "first-plugin.md").read_text()
BLOCK = re.compile(r"^```(sh|python|text)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NAMED_FILE = re.compile(r"Write this into\s+`([^`]+)`")
CHANGE = re.compile(r"Change that line of `([^`]+)` from `([^`]+)` to `([^`]+)`")
REMOVAL = re.compile(r"Take `([^`]+)` out of the call of `[^`]+` in\s+`([^`]+)`")

NEEDED = ("kit", "transformer", "distill", "evaluate", "perceiver")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("uv") is None, reason="uv makes the environment"),
]


class Reader:
    """Follows the page word for word, in a clone and an environment of its own."""

    def __init__(self, folder: Path) -> None:
        self.clone = folder / "clone"
        self.clone.mkdir()
        python = folder / "environment" / "bin" / "python"
        self.environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
        self.environment |= {"VIRTUAL_ENV": str(folder / "environment"), "OMP_NUM_THREADS": "1"}
        self.environment["PATH"] = f"{python.parent}{os.pathsep}{self.environment['PATH']}"
        parts = [ROOT / name for name in ("platform", *(f"plugins/{name}" for name in NEEDED))]
        self.run(["uv", "venv", "--quiet", "--python", sys.executable, folder / "environment"])
        self.run(["uv", "pip", "install", "--quiet", *parts, "pytest"])
        self.removed = ("", "")

    def run(self, command: list[object]) -> subprocess.CompletedProcess[str]:
        """Runs a command in the clone; ``uv run`` uses the test's own environment."""
        words = [str(word) for word in command]
        words = words[2:] if words[:2] == ["uv", "run"] else words
        return subprocess.run(
            words, cwd=self.clone, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )

    def edit(self, path: str, old: str, new: str) -> None:
        """Replaces a text that occurs once in a file."""
        file = self.clone / path
        text = file.read_text()
        assert text.count(old) == 1, f"{old!r} in {path}"
        file.write_text(text.replace(old, new))

    def follow(self, prose: str) -> None:
        """Makes the changes that a paragraph describes."""
        if "Put it back" in prose:
            path, text = self.removed
            (self.clone / path).write_text(text)
        for path, old, new in CHANGE.findall(prose):
            self.edit(path, old, new)
        for text, path in REMOVAL.findall(prose):
            self.removed = (path, (self.clone / path).read_text())
            self.edit(path, text, "")


def test_the_tutorial_does_what_it_says(tmp_path):
    reader = Reader(tmp_path)
    output, position, ran = "", 0, 0
    for block in BLOCK.finditer(TEXT):
        prose = TEXT[position : block.start()]
        position = block.end()
        reader.follow(prose)
        kind, content = block.groups()
        if kind == "python":
            (path,) = NAMED_FILE.findall(prose)
            (reader.clone / path).write_text(content)
        elif kind == "sh":
            output = ""
            for line in content.splitlines():
                done = reader.run(shlex.split(line))
                output += done.stdout
                broken = "breaks the rule" in done.stdout
                assert done.returncode == (1 if broken else 0), f"{line}\n{done.stdout}"
                ran += 1
        else:
            for line in content.splitlines():
                assert line == "…" or line in output, f"{line!r} is not in\n{output}"
    assert ran >= 10
    readme = (reader.clone / "runs" / "stripes" / "README.md").read_text()
    assert "finished at step 200 of 200" in readme
    assert '"stripes": "didact-stripes 0.1.0"' in (reader.clone / "runs" / "stripes" / "environment.json").read_text()
    assert '"length": 4' in (reader.clone / "runs" / "stripes-4" / "experiment.json").read_text()
