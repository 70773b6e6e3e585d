#!/usr/bin/env python3
"""links.py: checks that README.md and the articles name only what exists in the checkout.

Prints a line "ok - NAME" or "not ok - NAME (FILE:LINE: TEXT ...)" for each kind of reference:

links      Targets of Markdown links and of <doc:...>, with their #anchors.
paths      Paths and file names in backticks. A path may begin at any directory, and may hold "*".
symbols    Names of Swift and C in backticks. Each word with an inner capital or underscore occurs in the code.
commands   Scripts, products, test filters, scenarios and stages in blocks that no test runs ("console").

The changelog names former files and symbols, so it takes part in "links" alone.
"""
import fnmatch
import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CATALOGUE = "Sources/ipvsd/ipvsd.docc"
# Files that exist on a host, and not in the checkout.
FOREIGN = {"ipvsd-realserver.service", "nftables.service"}
CODE_SUFFIXES = (".swift", ".c", ".h", ".sh", ".py", ".txt", ".service", ".awk", ".yaml", ".json")
FILE_NAME = re.compile(r"[\w*+.-]+\.(?:swift|[ch]|sh|py|md|txt|docc|service)")
PATH = re.compile(r"(?:[\w.+*-]+/)+(?:[\w.+*-]+)?")


class Tree:
    """The files of the checkout, their directories, and all words of the code."""

    def __init__(self):
        # Root may look at the checkout of a user.
        listed = subprocess.check_output(
            ["git", "-c", "safe.directory=*", "-C", ROOT, "ls-files", "-z", "--cached", "--others",
             "--exclude-standard"], text=True)
        self.files = [name for name in listed.split("\0") if name and (ROOT / name).is_file()]
        self.directories = {str(parent) for name in self.files for parent in Path(name).parents} - {"."}
        self.words = set()
        for name in self.files:
            if name.endswith(CODE_SUFFIXES) and not name.startswith("Tests/Documents/"):
                self.words.update(re.findall(r"\w+", (ROOT / name).read_text(encoding="utf-8", errors="replace")))
        # Names of targets and directories count as words.
        self.words.update(part for name in self.files for part in re.split(r"[/.+]", name))

    def has_path(self, path):
        """Whether a file or directory has this path, or one that ends with it."""
        names = self.directories if path.endswith("/") else [*self.files, *self.directories]
        path = path.strip("/")
        if path.startswith("."):
            return any(name.endswith(path) for name in names)
        return any(fnmatch.fnmatchcase(name, path) or fnmatch.fnmatchcase(name, "*/" + path) for name in names)


class Document:
    """A Markdown file: its text without code blocks, its headings, and its blocks."""

    def __init__(self, name):
        self.name = name
        self.prose = []  # (line number, text)
        self.blocks = []  # (line number, language, lines)
        block = None
        for number, line in enumerate((ROOT / name).read_text(encoding="utf-8").split("\n"), 1):
            fence = re.match(r"\s*```\s*(\S*)", line)
            if fence and block is None:
                block = (number, fence[1], [])
            elif fence:
                self.blocks.append(block)
                block = None
            elif block is not None:
                block[2].append(line)
            else:
                self.prose.append((number, line))

    def headings(self):
        return [match[1] for _, line in self.prose if (match := re.match(r"#+ (.*)", line))]

    def anchors(self):
        """The anchors of the headings as GitHub and as DocC makes them."""
        anchors = set()
        for heading in self.headings():
            text = re.sub(r"[`*]", "", heading)
            anchors.add(re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-"))
            anchors.add(re.sub(r"[^\w\-]+", "-", text).strip("-"))
        return anchors

    def code(self):
        """Yields (line number, text) for each span in backticks."""
        for number, line in self.prose:
            for span in re.findall(r"`([^`]+)`", line):
                yield number, span


def links(document, documents):
    for number, line in document.prose:
        line = re.sub(r"`[^`]*`", "", line)
        for target, anchor in re.findall(r"<doc:([\w-]*)(?:#([\w-]+))?>", line):
            path = f"{CATALOGUE}/{target}.md" if target else document.name
            yield from broken(document, number, path, anchor, documents)
        for target in re.findall(r"\]\(([^)\s]+)\)", line):
            if re.match(r"[a-z]+:", target):
                continue
            path, _, anchor = target.partition("#")
            path = os.path.normpath(os.path.join(os.path.dirname(document.name), path)) if path else document.name
            yield from broken(document, number, path, anchor, documents)


def broken(document, number, path, anchor, documents):
    if not (ROOT / path).exists():
        yield f"{document.name}:{number}: {path}"
    elif anchor and path in documents and anchor not in documents[path].anchors():
        yield f"{document.name}:{number}: {path}#{anchor}"


def paths(document, tree):
    for number, span in document.code():
        for word in re.split(r"[\s=:,]+", re.sub(r"[…]", "*", span)):
            if word.startswith(("/", "~", "-", ".build/")) or word in FOREIGN:
                continue
            is_path = PATH.fullmatch(word) and (
                FILE_NAME.fullmatch(word.split("/")[-1]) or re.match(r"[A-Z.]|examples/", word))
            if (is_path or FILE_NAME.fullmatch(word)) and not tree.has_path(word):
                yield f"{document.name}:{number}: {word}"


def symbols(document, tree):
    for number, span in document.code():
        if "/" in span or span.startswith(("-", "$", "{")) or " " in re.sub(r"\(.*\)", "", span):
            continue
        for word in re.findall(r"[A-Za-z_]\w*", span):
            is_code = re.search(r"[a-z0-9][A-Z]|[a-z]_[a-z]|IPVSD_", word)
            # The article on metrics leaves out the prefix of the names.
            if is_code and not {word, "ipvsd_" + word} & tree.words:
                yield f"{document.name}:{number}: {word}"


def commands(document, tree):
    package = (ROOT / "Package.swift").read_text(encoding="utf-8")
    run = (ROOT / "Tests/run.sh").read_text(encoding="utf-8")
    stages = set(re.findall(r"^ +([a-z]+)\)", run, re.MULTILINE))
    for start, language, lines in document.blocks:
        if language not in ("console", "text"):
            continue
        for number, line in enumerate(lines, start + 1):
            line = re.sub(r"\s+# .*", "", re.sub(r"^\S*[#$] ", "", line))
            words = [word.strip("'\"") for word in line.split()]
            while words and (words[0] == "sudo" or re.match(r"[A-Z_]+=", words[0])):
                words.pop(0)
            problems = []
            for word in words:
                if re.match(r"(?:Tests|Sources|examples)(?:/|$)", word) and not tree.has_path(word):
                    problems.append(word)
            if words and re.match(r"(?:Tests|examples)/", words[0]) and not os.access(ROOT / words[0], os.X_OK):
                problems.append(f"{words[0]} is not executable")
            if words and words[0] == "Tests/run.sh":
                problems += [f"stage {word}" for word in words[1:] if word not in stages]
            elif words and re.fullmatch(r"Tests/(?:Namespaces|Attacks|KernelLab)/run\.sh", words[0]):
                scenarios = re.search(r"SCENARIOS=(\S+)", line)
                directory = scenarios[1] if scenarios else os.path.dirname(words[0])
                problems += [f"scenario {word}" for word in words[1:]
                             if not (ROOT / directory / f"{word}.test.sh").exists()]
            for option in ("--product", "--target"):
                if option in words and f'"{words[words.index(option) + 1]}"' not in package:
                    problems.append(words[words.index(option) + 1])
            if "--filter" in words:
                filtered = re.split(r"[./()|]+", words[words.index("--filter") + 1])
                problems += [word for word in filtered if word and word not in tree.words]
            if words[:2] == ["swift", "run"]:
                names = [word for word in words[2:] if not word.startswith("-") and word not in ("release", "debug")]
                if f'"{names[0]}"' not in package:
                    problems.append(names[0])
            for problem in problems:
                yield f"{document.name}:{number}: {problem}"


def main():
    tree = Tree()
    names = ["README.md", *sorted(name for name in tree.files if re.fullmatch(CATALOGUE + r"/.*\.md", name))]
    documents = {name: Document(name) for name in names}
    present = [document for document in documents.values() if not document.name.endswith("/Changelog.md")]
    checks = {
        "links and anchors lead to something": [f for d in documents.values() for f in links(d, documents)],
        "paths and file names exist": [f for d in present for f in paths(d, tree)],
        "names of the code exist": [f for d in present for f in symbols(d, tree)],
        "commands that no test runs name what exists": [f for d in present for f in commands(d, tree)],
    }
    failed = False
    for name, findings in checks.items():
        if findings:
            failed = True
            print(f"not ok - {name} ({len(findings)})")
            for finding in findings:
                print(f"#     {finding}")
        else:
            print(f"ok - {name}")
    return 1 if failed else 0


sys.exit(main())
