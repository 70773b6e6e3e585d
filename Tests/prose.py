#!/usr/bin/env python3
"""prose.py [FILE...]: comments and texts that a reader would have to read twice. Without FILE, all files that git has.

Each finding is a line "FILE:LINE: RULE: TEXT". The exit code is 1 where there are any.

fragment  A documentation comment begins with a noun phrase or a third-person verb. Other comments may begin with a
          preposition, but not with a genitive or a relative clause.
phrase    Some phrases leave out the noun that a reader needs.
long      A sentence of a comment has at most 25 words.
"""
import re
import subprocess
import sys

# The first word of no comment.
RELATIVE = r"Of|So many|So much|Whoever|Who|Whom|Whose|What|Those|That|Which|And|Or|But"
# The first word of no documentation comment besides.
DEPENDENT = (
    r"In|By|As|It|Its|They|Without|With|For|When|Where|Before|After|From|Not|On|There|Also|Until|Since|At least|At most|"
    r"Nothing|Nobody|None|Neither|Only|If|Then|To be|Because"
)
FIRST_WORD = {
    "documentation": re.compile(rf"(?:{RELATIVE}|{DEPENDENT})\b"),
    "comment": re.compile(rf"(?:{RELATIVE})\b"),
}
PHRASES = re.compile(r"\b(so many|so much|whoever|those (?:that|who)|(?:is|are|was|were) (?:told|asked))\b", re.IGNORECASE)
WORDS = 25
SUFFIXES = (".swift", ".c", ".h", ".sh", ".py", ".md")


def comments(lines, suffix):
    """Yields (number of the first line, kind, text) for each comment."""
    slashes = r"///?" if suffix in (".swift", ".c", ".h") else r"#"
    number = 0
    while number < len(lines):
        start = number
        line = lines[number].strip()
        if suffix in (".c", ".h", ".swift") and line.startswith("/*"):
            text = []
            while True:
                text.append(re.sub(r"^(/\*\*?|\*(?!/))|\*/$", "", lines[number].strip()).strip())
                if "*/" in lines[number] or number + 1 == len(lines):
                    break
                number += 1
            yield start + 1, "comment", " ".join(text).strip()
        elif match := re.match(rf"({slashes})(?!!|/)\s*(.*)", line):
            mark, text = match[1], []
            while number < len(lines) and (match := re.match(rf"{mark}(?!/)\s*(.*)", lines[number].strip())):
                text.append(match[1])
                number += 1
            number -= 1
            yield start + 1, "documentation" if mark == "///" else "comment", " ".join(text).strip()
        number += 1


def sentences(text):
    return re.split(r"(?<=[.:;!?])\s+|\s+- ", re.sub(r"`[^`]*`", "x", text))


def findings(path):
    suffix = path[path.rfind("."):]
    with open(path, encoding="utf-8") as file:
        lines = file.read().split("\n")
    if suffix != ".md":
        for number, kind, text in comments(lines, suffix):
            if FIRST_WORD[kind].match(text):
                yield number, "fragment", text
            for sentence in sentences(text):
                if len(sentence.split()) > WORDS:
                    yield number, "long", sentence
    for number, line in enumerate(lines, 1):
        if match := PHRASES.search(line):
            yield number, "phrase", f'"{match[1]}": {line.strip()}'


def main():
    paths = sys.argv[1:] or subprocess.check_output(["git", "ls-files"], text=True).split("\n")
    count = 0
    for path in paths:
        if not path.endswith(SUFFIXES) or "/Fixtures/" in path or path.endswith("Tests/prose.py"):
            continue
        for number, rule, text in sorted(findings(path)):
            print(f"{path}:{number}: {rule}: {text[:110]}")
            count += 1
    return 1 if count else 0


sys.exit(main())
