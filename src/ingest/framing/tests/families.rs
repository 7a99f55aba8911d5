//! Stacks of each language as they are really written, with ordinary lines around them.

use super::*;

/// Groups, each ended by a line `~~`: the text without these is cut at them.
pub(super) fn cut(marked: &str) {
    let expected: Vec<&str> = marked.split("~~\n").filter(|group| !group.is_empty()).collect();
    assert_eq!(groups(&Multiline::Auto, 2000, &expected.concat()), expected);
}

pub(super) const DATED: &str = "2026-11-20 23:00:33,123 - agent - INFO - on it goes";

/// What the tests of a family write once: `LOG` is an ordinary line.
fn with_log(marked: &str) {
    cut(&marked.replace("LOG", DATED));
    let marked_crlf = marked.replace("LOG", DATED).replace('\n', "\r\n").replace("~~\r\n", "~~\n");
    cut(&marked_crlf);
    cut(&marked.replace("LOG", "{\"level\":\"info\"}"));
    cut(&marked.replace("LOG", "INFO:root:on it goes"));
}

#[test]
fn pythons_chains_groups_and_messages_of_several_lines() {
    with_log(
        "LOG
~~
boom
Traceback (most recent call last):
  File \"a.py\", line 1, in <module>
    {}[\"k\"]
    ~~^^^^^
KeyError: 'k'

The above exception was the direct cause of the following exception:

Traceback (most recent call last):
  File \"a.py\", line 3, in <module>
RuntimeError: two
lines

During handling of the above exception, another exception occurred:

a.b.NeverRaised: alone
~~
LOG
~~
{}
~~
  + Exception Group Traceback (most recent call last):
  |   File \"a.py\", line 12, in <module>
  | ExceptionGroup: eg (2 sub-exceptions)
  +-+---------------- 1 ----------------
    | ValueError: one
    | a note
    +---------------- 2 ----------------
    | Traceback (most recent call last):
    |   File \"a.py\", line 5, in <lambda>
    | ValueError: two
    +------------------------------------

During handling of the above exception, another exception occurred:

  + Exception Group Traceback (most recent call last):
  | ExceptionGroup: again (1 sub-exception)
  +-+---------------- 1 ----------------
    | KeyError: 'z'
    +------------------------------------
~~
LOG
~~
",
    );
}

#[test]
fn what_python_writes_without_a_traceback() {
    with_log(
        "  File \"/a/syn.py\", line 1
    x = = 1
        ^
SyntaxError: invalid syntax
~~
LOG
~~
Fatal Python error: Segmentation fault

Current thread 0x00007f2c9dcb7b80 (most recent call first):
  File \"/a/b.py\", line 519 in string_at

Thread 0x00007f2c9dcb7b81 (most recent call first):
  <no Python frame>

Extension modules: a, b (total: 2)
~~
LOG
~~
WARNING:root:x
Stack (most recent call last):
  File \"<string>\", line 1, in <module>
~~
LOG
~~
",
    );
}

#[test]
fn tracebacks_as_loguru_and_rich_draw_them_and_those_of_pydantic() {
    with_log(
        "12:00 | ERROR | a:b:10 - what?!
Traceback (most recent call last):

  File \"test.py\", line 12, in <module>
    nested(0)
    \u{2514} <function nested at 0x7f5c755322f0>

> File \"test.py\", line 8, in nested
    print(5 / c)
              \u{2514} 0

ZeroDivisionError: division by zero
~~
LOG
~~
{}
~~
\u{256d}\u{2500}\u{2500} Traceback (most recent call last) \u{2500}\u{2500}\u{256e}
\u{2502} /a/b.py:3 in f          \u{2502}
\u{2502}   1 x                   \u{2502}
\u{2570}\u{2500}\u{2500}\u{2500}\u{256f}
ValueError: bad
~~
LOG
~~
{}
~~
Traceback (most recent call last):
  File \"a.py\", line 1, in <module>
pydantic_core._pydantic_core.ValidationError: 2 validation errors for User
id
  Input should be a valid integer [type=int_parsing, input_value='x', input_type=str]
    For further information visit https://errors.pydantic.dev/2.5/v/int_parsing
name.first
  Field required [type=missing]
~~
done
~~
LOG
~~
",
    );
}

#[test]
fn what_other_processes_and_tasks_of_asyncio_raised() {
    with_log(
        "LOG
~~
{}
~~
multiprocessing.pool.RemoteTraceback: 
\"\"\"
Traceback (most recent call last):
  File \"a.py\", line 1, in f
ValueError: x
\"\"\"

The above exception was the direct cause of the following exception:

Traceback (most recent call last):
  File \"b.py\", line 1, in <module>
ValueError: x
~~
LOG
~~
ERROR:asyncio:Task exception was never retrieved
future: <Task finished name='Task-1' coro=<main() done> exception=ValueError('x')>
Traceback (most recent call last):
  File \"b.py\", line 1, in <module>
ValueError: x
~~
LOG
~~
ERROR:asyncio:Task was destroyed but it is pending!
~~
task: <Task pending name='Task-1' coro=<main()>>
~~
LOG
~~
",
    );
}

#[test]
fn java_with_causes_suppressed_ones_and_a_logger_before_them() {
    with_log(
        "LOG
~~
Exception in thread \"main\" java.lang.RuntimeException: outer
second line
\tat P.f(P.java:2)
\tat java.base/java.lang.reflect.Method.invoke0(Native Method)
\tSuppressed: java.lang.IllegalStateException: sup
\t\tat P.f(P.java:2)
\t\t... 3 more
Caused by: java.io.IOException: inner
of two lines
\tat P.g(P.java:3)
\t... 12 more
~~
LOG
~~
23:00:33.123 [main] ERROR com.example.Main - it broke
java.lang.IllegalStateException: x
\tat com.example.Main.run(Main.java:9)
Caused by: com.example.StopIt
\tat com.example.Main.stop(Main.java:7)
~~
LOG
~~
Nov 20, 2026 11:00:35 PM com.example.Pool run
SEVERE: failed
java.lang.RuntimeException: x
\tat com.example.Pool.run(Pool.java:9)
~~
Nov 20, 2026 11:00:36 PM com.example.Pool run
INFO: next
~~
LOG
~~
",
    );
}

#[test]
fn go_with_several_goroutines_signals_and_a_stack_that_was_logged() {
    with_log(
        "LOG
~~
panic: assignment to entry in nil map [recovered]
\tpanic: again
\tsecond

goroutine 1 [running]:
main.main.func2()
\t/a/m.go:4 +0x4b
panic({0x4909e0?, 0x541dc0?})
\t/usr/local/go/src/runtime/panic.go:860 +0x13a
main.(*T).f(0xc000, {0x1, 0x2})
\t/a/m.go:3

goroutine 17 [sleep]:
time.Sleep(0x34630b8a000)
\t/usr/local/go/src/runtime/time.go:363 +0x165
created by main.main in goroutine 1
\t/a/m.go:4 +0x26
exit status 2
~~
LOG
~~
fatal error: all goroutines are asleep - deadlock!

goroutine 1 [chan receive]:
main.main()
\t/a/m.go:2 +0x25
~~
exit (0)
~~
LOG
~~
panic: runtime error: invalid memory address or nil pointer dereference
[signal SIGSEGV: segmentation violation code=0x1 addr=0x0 pc=0x4a80d3]

goroutine 1 [running]:
main.main()
\t/a/m.go:4 +0xd3
...additional frames elided...
created by main.main
\t/a/m.go:9 +0x1
~~

~~
LOG
~~
2026/11/20 23:00:33 http: panic serving 1.2.3.4:5: boom
goroutine 7 [running]:
net/http.(*conn).serve.func1()
\t/usr/local/go/src/net/http/server.go:1898 +0xbe
~~
next()
~~
LOG
~~
",
    );
}

#[test]
fn node_with_its_place_its_causes_and_its_version() {
    with_log(
        "LOG
~~
/a/a.js:1
function f(){ throw new TypeError('bad thing', {cause: new Error('inner')}); }
              ^

TypeError: bad thing
    at f (/a/a.js:1:21)
    ... 5 lines matching cause stack trace ...
    at node:internal/main/run_main_module:28:49 {
  [cause]: Error: inner
      at f (/a/a.js:1:56)
}

Node.js v20.20.2
~~
LOG
~~
node:internal/modules/cjs/loader:1210
  throw err;
  ^

Error: Cannot find module 'nope'
Require stack:
- /a/b.js
    at Module._resolveFilename (node:internal/modules/cjs/loader:1207:15)
    at Function.executeUserEntryPoint [as runMain] (node:internal/modules/run_main:164:12) {
  code: 'MODULE_NOT_FOUND',
  requireStack: [ '/a/b.js' ]
}

Node.js v20.20.2
~~
file:///a/d.mjs:1
throw \"text\";
^
text
(Use `node --trace-uncaught ...` to show where the exception was thrown)

Node.js v20.20.2
~~
LOG
~~
failed: Error: x
    at Object.<anonymous> (/a/e.js:1:32)
    at async Promise.all (index 0)
~~
}
~~
LOG
~~
{}
~~
Error: Command failed: git status
fatal: not a git repository

    at genericNodeError (node:internal/errors:984:15) {
  status: 128
}
~~

~~
LOG
~~
",
    );
}

#[test]
fn rust_with_a_backtrace_and_without() {
    with_log(
        "
~~
thread '<unnamed>' (18476) panicked at r.rs:1:44:
assertion `left == right` failed: numbers
differ
  left: 1
 right: 2
stack backtrace:
   0: __rustc::rust_begin_unwind
             at /rustc/5980/library/std/src/panicking.rs:689:5
   1: r::main
             at ./r.rs:1:44
note: Some details are omitted, run with `RUST_BACKTRACE=full` for a verbose backtrace.
~~
LOG
~~
thread 'main' panicked at src/main.rs:3:5:
boom
~~
LOG
~~
thread 'main' panicked at src/main.rs:3:5:
boom
note: run with `RUST_BACKTRACE=1` environment variable to display a backtrace
~~
note: of another
~~
thread 'main' panicked at 'boom', src/main.rs:3:5
note: run with `RUST_BACKTRACE=1` environment variable to display a backtrace
~~
LOG
~~
",
    );
}

#[test]
fn dotnet_and_ruby() {
    with_log(
        "LOG
~~
Unhandled exception. System.InvalidOperationException: x
 ---> System.IO.IOException: y
   at App.Read() in /a/P.cs:line 5
   --- End of inner exception stack trace ---
   at App.Main()
~~
LOG
~~
[23:00:33 ERR] it broke
System.AggregateException: One or more errors occurred. (x)
   at App.Main()
~~
LOG
~~
/a/x.rb:3:in 'foo': message (RuntimeError)
\tfrom /a/x.rb:7:in '<main>'
~~
LOG
~~
",
    );
}

#[test]
fn objects_over_several_lines_end_at_their_bracket() {
    with_log(
        "{
  \"a\": 1,
  \"b\": [
    2
  ]
}
~~
[
  1
],
~~
LOG
~~
{
  \"a\": 1,
~~
LOG
~~
{'a': 1,
 'b': 2}
~~
]
~~
{}
~~
{
~~
{
}
~~
LOG
~~
",
    );
}
