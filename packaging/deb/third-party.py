#!/usr/bin/env python3
"""The licences of what is linked into the program, with their texts, for the package.

third-party.py FOLDER   FOLDER holds Cargo.toml and Cargo.lock; the crates are where cargo unpacked them

Only crates of the build for this system count, without those for tests and build scripts. A text that several crates
share to the byte stands there once.
"""
import json
import pathlib
import subprocess
import sys

NAMES = ("licen", "copying", "notice", "copyright")  # how the files begin that hold a licence or must go with one


def cargo(folder, *arguments):
    command = ["cargo", *arguments]
    return subprocess.run(command, cwd=folder, check=True, stdout=subprocess.PIPE, text=True).stdout


def linked(metadata):
    """Ids of the packages reached from ours by dependencies that are neither for tests nor for build scripts."""
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    ours = metadata["resolve"]["root"]
    seen, waiting = set(), [ours]
    while waiting:
        one = waiting.pop()
        if one in seen:
            continue
        seen.add(one)
        for dependency in nodes[one]["deps"]:
            if any(kind["kind"] is None for kind in dependency["dep_kinds"]):
                waiting.append(dependency["pkg"])
    return seen - {ours}


def texts(package):
    folder = pathlib.Path(package["manifest_path"]).parent
    for path in sorted(folder.iterdir()):
        if path.name.lower().startswith(NAMES) and path.is_file():
            yield path.read_text(encoding="utf-8", errors="replace").replace("\r\n", "\n").strip()


def main():
    (folder,) = sys.argv[1:]
    host = next(line.split()[1] for line in cargo(folder, "-vV").splitlines() if line.startswith("host:"))
    metadata = json.loads(cargo(folder, "metadata", "--format-version", "1", "--locked", "--filter-platform", host))
    wanted = linked(metadata)
    packages = sorted((p for p in metadata["packages"] if p["id"] in wanted), key=lambda p: (p["name"], p["version"]))

    print("logferry is linked with the following crates.\n")
    shared = {}
    for package in packages:
        name = f"{package['name']} {package['version']}"
        print(f"{name}: {package['license'] or 'see its text'}, {package['repository'] or 'crates.io'}")
        for text in texts(package):
            shared.setdefault(text, []).append(name)
    for text, names in shared.items():
        print(f"\n{'=' * 80}\n{', '.join(names)}\n{'-' * 80}\n{text}")


main()
