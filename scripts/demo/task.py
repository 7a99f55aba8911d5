#!/usr/bin/env python3
"""One task of the demo's benchmark: a program that logs, and knows how many events it has logged.

task.py KIND COUNTS [LOG]
  python    Python's `logging`: up to INFO to stdout, the rest to stderr; now and then a traceback
  json      one JSON object a line, to stdout
  rotated   Python's `logging` to the file LOG, which is renamed away each time that it has grown to 16 KiB
COUNTS is a file that gets the number of events for each level, as JSON.
"""
import collections
import datetime
import json
import logging
import logging.handlers
import random
import sys
import time

STEPS = 400
SECONDS = 3  # that a task takes, so that there is something to follow
ROTATE_BYTES = 16 * 1024
KEEP = 100  # rotated files: none is deleted before the task has ended

kind, counts_path = sys.argv[1:3]
counts = collections.Counter()


class Counting(logging.Filter):
    def filter(self, record):
        counts[record.levelname] += 1
        return True


def python_logger():
    log = logging.getLogger("agent.solver")
    log.setLevel(logging.DEBUG)
    log.addFilter(Counting())
    if kind == "rotated":
        handlers = [logging.handlers.RotatingFileHandler(sys.argv[3], maxBytes=ROTATE_BYTES, backupCount=KEEP)]
    else:
        handlers = [logging.StreamHandler(sys.stdout), logging.StreamHandler(sys.stderr)]
        handlers[0].addFilter(lambda record: record.levelno <= logging.INFO)
        handlers[1].setLevel(logging.WARNING)
    for handler in handlers:
        handler.setFormatter(logging.Formatter("%(asctime)s - %(name)s - %(levelname)s - %(message)s"))
        log.addHandler(handler)
    return log


def call_tool(step):
    plan = {"tool": "search", "query": f"step {step}"}
    return plan["answer"]


def python_step(log, step):
    log.info("step %d: asking the model, %d tokens so far", step, step * 173)
    if step % 4 == 0:
        log.debug("prompt cache holds %d entries", step // 4)
    if step % 50 == 7:
        log.warning("answer took %.1f s, the limit is 2 s", random.uniform(2, 5))
    if step % 100 == 42:
        try:
            call_tool(step)
        except KeyError:
            log.exception("tool call failed in step %d", step)


def json_step(step):
    level = "error" if step % 80 == 33 else "info"
    counts[level.upper()] += 1
    event = {
        "timestamp": datetime.datetime.now(datetime.timezone.utc).isoformat(),
        "level": level,
        "logger": "grader",
        "message": f"checked answer {step}",
        "event_type": "task_completed" if step == STEPS - 1 else "answer_checked",
        "duration_ms": round(random.uniform(1, 40), 3),
        "score": {"exact": step % 3 == 0, "points": step % 7},
    }
    print(json.dumps(event), flush=True)


log = python_logger() if kind != "json" else None
for step in range(STEPS):
    python_step(log, step) if log else json_step(step)
    time.sleep(SECONDS / STEPS)
with open(counts_path, "w", encoding="utf-8") as out:
    json.dump(counts, out)
