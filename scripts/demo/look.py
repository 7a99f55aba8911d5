#!/usr/bin/env python3
"""A look at the records that a demo run has delivered, beside what its tasks say they have logged.

look.py RUN_ID RECORDS COUNTS…   RECORDS: the NDJSON file; COUNTS: TASK.json of each task. Exits 1 where they differ.
"""
import collections
import json
import pathlib
import sys

run_id, records_path, *counts_paths = sys.argv[1:]
records = [json.loads(line) for line in open(records_path, encoding="utf-8")]
events = [one for one in records if one.get("RunID") == run_id and not one.get("EventType", "").startswith("logferry.")]
exits = [one for one in events if one.get("EventType") == "container.exited"]
events = [one for one in events if one not in exits]

LEVELS = ["DEBUG", "INFO", "WARNING", "ERROR"]
found = collections.Counter((one.get("TaskID"), one.get("Level")) for one in events)
logged = {}
for path in map(pathlib.Path, counts_paths):
    for level, number in json.loads(path.read_text()).items():
        logged[path.stem, level] = number

print("records by TaskID and Level, of what the tasks say they logged:\n")
print(f"  {'TaskID':<10}" + "".join(f"{level:>12}" for level in LEVELS) + "   sources")
for task in sorted({task for task, _ in set(found) | set(logged)}, key=str):
    cells = (f"{found[task, level]}/{logged.get((task, level), 0)}" for level in LEVELS)
    sources = sorted({f"{one['Source']}:{one.get('Stream', 'file')}" for one in events if one.get("TaskID") == task})
    print(f"  {task!s:<10}" + "".join(f"{cell:>12}" for cell in cells) + f"   {' '.join(sources)}")

doubles = len(events) - len({one["EventID"] for one in events})
origins = collections.defaultdict(list)
for one in events:
    origins[one["Origin"]].append(one["Seq"])
holes = sum(sorted(numbers) != list(range(1, len(numbers) + 1)) for numbers in origins.values())
print(f"\n  {len(events)} records from {len(origins)} origins (file generations, container streams); "
      f"{doubles} twice, {holes} origins with a hole in Seq")

print("\nhow the containers ended:\n")
for one in sorted(exits, key=lambda one: one["@timestamp"]):
    print(f"  {one['@timestamp']} {one['Level']:<8} {one['Message']}")
unsaid = {one["Container"] for one in events if "Container" in one} - {one["Container"] for one in exits}

failed = next((one for one in events if "Exception" in one), None)
if failed:
    print("\none of them, a traceback of several lines that is one record:\n")
    for line in json.dumps(failed, indent=2, ensure_ascii=False).splitlines():
        print("  " + line.replace("\\n", "\n" + " " * 16))

if {key: number for key, number in found.items() if number} != logged or doubles or holes or unsaid or not failed:
    sys.exit("\ndemo: the records are NOT what the tasks logged")
