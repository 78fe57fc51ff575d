"""tests/cli/run: a case passes only when the program does all that the case says."""
import os
import subprocess
import sys
import tempfile
import time
import unittest

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
RUN = os.path.join(ROOT, "tests", "cli", "run")

# A program to test against: says what it is told to, so that each check can pass and fail.
FAKE = """#!/bin/sh
case $1 in
say) printf '%s\\n' "$2" ;;
moan) printf '%s\\n' "$2" >&2; exit "$3" ;;
cat) cat "$2" ;;
echo) cat ;;
make) : >"$2" ;;
home) printf '%s\\n' "$HOME" "$XDG_DATA_HOME" "$XDG_CACHE_HOME" "$PWD" ;;
vars) env ;;
orphan) sleep 300 </dev/null >/dev/null 2>&1 & ;;
hang) sleep 300 ;;
hang_apart) setsid sleep 300 & wait ;;
tty) if [ -t 1 ] && [ -t 2 ]; then echo "width $(stty size <&2 | cut -d' ' -f2)"; fi ;;
esac
"""

# name: (body of a case, does it pass?)
BODIES = {
    "status_0_is_the_default": ("$ snug say a", True),
    "status_1_unsaid": ("$ snug moan a 1", False),
    "status_said": ("$ snug moan a 2\nexit 2", True),
    "status_other": ("$ snug moan a 2\nexit 1", False),
    "status_0_wanted": ("$ snug moan a 1\nexit 0", False),
    "out_is_empty": ("$ snug moan a 0\nout is empty", True),
    "out_is_not_empty": ("$ snug say a\nout is empty", False),
    "out_is_line": ("$ snug say 'a  b'\nout is a  b", True),
    "out_is_other_line": ("$ snug say a\nout is b", False),
    "out_is_block": ("$ snug say 'a\nout is\n|a", False),
    "out_is_two_lines": ("$ printf 'a\\n b \\n'\nout is\n  |a\n  | b ", True),
    "out_is_too_short": ("$ printf 'a\\n b\\n'\nout is\n  |a", False),
    "out_without_newline": ("$ printf a\nout is a", False),
    "out_has": ("$ snug say abc\nout has b", True),
    "out_has_not": ("$ snug say abc\nout has d", False),
    "out_lacks": ("$ snug say abc\nout lacks d", True),
    "out_lacks_not": ("$ snug say abc\nout lacks b", False),
    "out_like": ("$ printf 'x\\nabc\\n'\nout like ^a.c$", True),
    "out_like_not": ("$ printf 'x\\nabcd\\n'\nout like ^a.c$", False),
    "out_lines": ("$ printf 'x\\nabcd\\n'\nout lines 2", True),
    "out_lines_not": ("$ printf 'x\\nabcd\\n'\nout lines 1", False),
    "err_is_not_out": ("$ snug moan a 0\nerr is a\nout lacks a", True),
    "err_has_not": ("$ snug say a\nerr has a", False),
    "json": ("$ snug say '{\"a\": [{\"b\": 2}]}'\nout json\nout json a[0].b\nout json a[0].b 2",
             True),
    "json_broken": ("$ snug say '{'\nout json", False),
    "json_two_values": ("$ printf '1\\n2\\n'\nout json", False),
    "json_no_such_path": ("$ snug say '{\"a\": 1}'\nout json b", False),
    "json_path_through_number": ("$ snug say '{\"a\": 1}'\nout json a.b", False),
    "json_other_value": ("$ snug say '{\"a\": 1}'\nout json a 2", False),
    "jsonl": ("$ printf '1\\n{}\\n'\nout jsonl", True),
    "jsonl_broken": ("$ printf '1\\n{\\n'\nout jsonl", False),
    "jsonl_empty": ("$ true\nout jsonl", False),
    "file_made": ("$ snug make a\nexists a\nabsent b", True),
    "file_not_made": ("$ snug make a\nexists b", False),
    "file_there": ("$ snug make a\nabsent a", False),
    "file_before": ("file a\n|x\n| y\n$ snug cat a\nout is\n|x\n| y", True),
    "truncate": ("file a\n|xyz\ntruncate a 2\n$ snug cat a; echo\nout is xy", True),
    "flip": ("file a\n|xyz\nflip a 1 0x01\n$ snug cat a\nout is xxz", True),
    "flip_behind_the_end": ("file a\n|xyz\nflip a 9 0x01\n$ snug cat a", False),
    "copy_root": ("copy root:LICENSE a\n$ head -n 1 a\nout is MIT License", True),
    "copy_missing": ("copy root:nosuch a\n$ true", False),
    "copy_data": ("copy data:sample a\n$ snug cat a $DATA/sample\nout is sample", True),
    "stdin": ("stdin\n|x y\n$ snug echo\nout is x y", True),
    "stdin_is_empty": ("$ snug echo\nout is empty", True),
    "env": ("env COLOUR=blue $DIR\n$ echo \"$COLOUR\"\nout like ^blue /", True),
    "unset": ("unset HOME\n$ echo \"<$HOME>\"\nout is <>", True),
    "own_folders": ("$ snug home | grep -c /snug-test-\nout is 4", True),
    "callers_variables_are_gone": ("$ snug vars\nout lacks SNUG_STORE\nout lacks NO_COLOR", True),
    "second_step_sees_the_first": ("$ snug make a\n$ snug cat a", True),
    "second_step_fails": ("$ snug say a\nout is a\n$ snug say b\nout is a", False),
    "first_step_fails": ("$ snug say a\nout is b\n$ snug say b", False),
    "orphan": ("$ snug orphan", False),
    "hang": ("timeout 0.2\n$ snug hang", False),
    "hang_in_a_session_apart": ("timeout 0.2\n$ snug hang_apart", False),
    "terminal": ("terminal 50\n$ snug tty\nout is width 50", True),
    "no_terminal": ("$ snug tty\nout is empty", True),
    "comment": ("$ snug say a # not b\nout is a # nor c", True),
    "unknown_word": ("$ snug say a\nouch is a", False),
    "unknown_check": ("$ snug say a\nout resembles a", False),
    "setup_behind_a_step": ("$ snug say a\nfile a", False),
    "no_step": ("file a", False),
    "check_before_a_step": ("out is a\n$ snug say a", False),
}


class Cli(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory(prefix="snug-test-")
        self.addCleanup(self.folder.cleanup)
        self.program = self.put("fake", FAKE)
        os.chmod(self.program, 0o755)
        self.put("sample", "sample\n")

    def put(self, name, text):
        path = os.path.join(self.folder.name, name)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        return path

    def begin(self, *names, **env):
        env = {"SNUG_BIN": self.program, "SNUG_TEST_DATA": self.folder.name, "SNUG_STORE": "x",
               "NO_COLOR": "1", "PATH": os.environ["PATH"], **env}
        command = [sys.executable, RUN, "--grace", "0.5", "--cases", self.folder.name, *names]
        return subprocess.Popen(command, env=env, text=True, stdout=subprocess.PIPE,
                                stderr=subprocess.STDOUT)

    def run_cases(self, *names, **env):
        runner = self.begin(*names, **env)
        tap = runner.communicate(timeout=120)[0]
        return runner.returncode, tap

    def test_what_a_step_started_ends_with_the_runner(self):
        self.put("a.case", "case it\n$ echo $$ >pid; mv pid $DATA; snug hang\n")
        pid_path = os.path.join(self.folder.name, "pid")
        runner = self.begin()
        try:
            while not os.path.exists(pid_path) and runner.poll() is None:
                time.sleep(0.01)
            with open(pid_path, encoding="ascii") as file:
                group = int(file.read())
            os.killpg(group, 0)
        finally:
            runner.terminate()
            runner.communicate(timeout=60)
        self.assertEqual(143, runner.returncode)
        self.assertRaises(ProcessLookupError, os.killpg, group, 0)

    def expect(self, body, passes):
        self.put("a.case", f"case it\n{body}\n")
        status, tap = self.run_cases()
        self.assertIn("\nok 1 - a: it\n" if passes else "\nnot ok 1 - a: ", tap)
        self.assertEqual(status, 0 if passes else 1, tap)

    def test_missing_data_skips(self):
        self.put("a.case", "case it\ncopy data:sample a\n$ snug cat a\n")
        status, tap = self.run_cases(SNUG_TEST_DATA="")
        self.assertIn("ok 1 - a: it # SKIP SNUG_TEST_DATA", tap)
        self.assertEqual(status, 0)

    def test_missing_program_is_a_failure(self):
        self.put("a.case", "case it\n$ snug say a\n")
        status, tap = self.run_cases(SNUG_BIN=self.program + ".no")
        self.assertIn("Bail out!", tap)
        self.assertEqual(status, 1)

    def test_names_pick_cases(self):
        self.put("a.case", "case one\n$ snug say a\ncase two\n$ snug say a\nout is b\n")
        self.assertEqual(self.run_cases("one")[0], 0)
        self.assertEqual(self.run_cases("two")[0], 1)
        self.assertEqual(self.run_cases("three")[0], 1)

    def test_no_case_is_a_failure(self):
        self.assertEqual(self.run_cases()[0], 1)

    def test_failure_shows_what_was_said(self):
        self.put("a.case", "case it\n$ snug moan 'alas, no' 3\nout has yes\n")
        _, tap = self.run_cases()
        for part in ("a.case:3: out has yes", "alas, no", "status 3", "$ snug moan"):
            self.assertIn(part, tap)


def add_body(name):
    setattr(Cli, f"test_{name}", lambda self: self.expect(*BODIES[name]))


for body_name in BODIES:
    add_body(body_name)
