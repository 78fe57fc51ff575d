"""tools/test: the counts are those of cases, and no way of failing is counted as passing."""
import contextlib
import importlib.machinery
import importlib.util
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
import unittest

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
TEST = os.path.join(ROOT, "tools", "test")
LOADER = importlib.machinery.SourceFileLoader("snug_test", TEST)
test = importlib.util.module_from_spec(importlib.util.spec_from_loader("snug_test", LOADER))
LOADER.exec_module(test)

CMOCKA = """TAP version 14
1..4
ok 1 - a
said by b
not ok 2 - b
  ---
  message: |-
    1 != 2
    ok 9 - quoted
  severity: fail
  ...
needs c
ok 3 - c # SKIP
ok 4 - d
# not ok - group
"""

# name: (stdout, Meson's result, exit status, (passed, failed, skipped), words that are shown)
RECORDS = {
    "all_kinds": (CMOCKA, "FAIL", 1, (2, 1, 1), ["test_x: b", "said by b", "1 != 2", "c: needs c"]),
    "all_pass": ("1..2\nok 1 - a\nok 2 - b\n", "OK", 0, (2, 0, 0), []),
    "skip_with_reason": ("1..1\nok 1 - a # SKIP no disk\n", "SKIP", 0, (0, 0, 1), ["a: no disk"]),
    "older_skip": ("1..1\nnot ok 1 - a # SKIP\n", "SKIP", 0, (0, 0, 1), []),
    "whole_program_skips": ("1..0 # SKIP no gpu\n", "SKIP", 0, (0, 0, 1), ["no gpu"]),
    "crash": ("1..3\nok 1 - a\n", "ERROR", -11, (1, 1, 0), ["died of SIGSEGV", "ok 1 - a"]),
    "crash_after_a_failure": ("1..3\nnot ok 1 - a\n", "ERROR", -6, (0, 2, 0), ["SIGABRT"]),
    "crash_before_anything": ("", "ERROR", -6, (0, 1, 0), ["SIGABRT"]),
    "stops_short": ("1..3\nok 1 - a\n", "OK", 0, (1, 1, 0), ["ran 1 of the 3"]),
    "exits_early_with_failure": ("1..1\nok 1 - a\n", "ERROR", 23, (1, 1, 0), ["status 23"]),
    "hangs": ("1..2\nok 1 - a\n", "TIMEOUT", -15, (1, 1, 0), ["time limit"]),
    "interrupted": ("1..1\n", "INTERRUPT", -2, (0, 1, 0), ["interrupted"]),
    "bails_out": ("1..2\nok 1 - a\nBail out! no store\n", "ERROR", 1, (1, 1, 0), ["no store"]),
    "no_case": ("1..0\n", "SKIP", 0, (0, 1, 0), ["ran no case"]),
    "silence": ("", "SKIP", 0, (0, 1, 0), ["ran no case"]),
    "exit_code_passes": ("12 inputs\n", "OK", 0, (1, 0, 0), []),
    "exit_code_fails": ("", "FAIL", 3, (0, 1, 0), ["status 3"]),
    "exit_code_skips": ("", "SKIP", 77, (0, 0, 1), ["skipped"]),
}

# A real Meson project, one test program per way of ending.
MESON = """project('mini', meson_version: '>=1.0.0')
sh = find_program('sh')
test('good', sh, args: ['-c', 'echo 1..2; echo ok 1 - a; echo "ok 2 - b # SKIP none"'],
  protocol: 'tap')
if get_option('bad')
  test('bad', sh, args: ['-c', 'echo 1..2; echo ok 1 - c; echo not ok 2 - d; exit 1'],
    protocol: 'tap')
  test('dead', sh, args: ['-c', 'echo 1..2; echo ok 1 - e; kill -SEGV $$'], protocol: 'tap')
  test('late', sh, args: ['-c', 'echo 1..1; echo ok 1 - f; exec sleep 60'], protocol: 'tap',
    timeout: 1)
endif
"""


class Test(unittest.TestCase):
    def summarise(self, *records):
        rows = [{"name": "snug / test_x", "stdout": out, "result": result, "returncode": code}
                for out, result, code, _, _ in records]
        shown = io.StringIO()
        with contextlib.redirect_stdout(shown):
            counts = test.summarise("".join(json.dumps(row) + "\n" for row in rows))
        return counts, shown.getvalue()

    def expect(self, record):
        counts, shown = self.summarise(record)
        self.assertEqual(counts, record[3], shown)
        for words in record[4]:
            self.assertIn(words, shown)

    def test_counts_of_programs_add_up(self):
        counts, _ = self.summarise(*RECORDS.values())
        self.assertEqual(counts, tuple(map(sum, zip(*(record[3] for record in RECORDS.values())))))

    def test_long_output_keeps_both_ends(self):
        lines = "".join(f"line {i}\n" for i in range(1000))
        _, shown = self.summarise((f"1..1\n{lines}not ok 1 - a\n", "FAIL", 1, None, None))
        self.assertIn("line 0\n", shown)
        self.assertIn("line 999\n", shown)
        self.assertNotIn("line 500\n", shown)

    def run_tool(self, folder, *options):
        subprocess.run(["meson", "setup", "b", *options], cwd=folder, check=True,
                       stdout=subprocess.PIPE)
        ran = subprocess.run([sys.executable, TEST, "b"], cwd=folder, text=True, check=False,
                             stdout=subprocess.PIPE)
        return ran.returncode, ran.stdout.splitlines()[-1]

    @unittest.skipUnless(shutil.which("meson"), "meson is not installed")
    def test_real_run(self):
        with tempfile.TemporaryDirectory(prefix="snug-test-") as folder:
            for name, text in (("meson.build", MESON),
                               ("meson_options.txt", "option('bad', type: 'boolean')\n")):
                with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
                    file.write(text)
            self.assertEqual(self.run_tool(folder, "-Dbad=false"),
                             (0, "1 passed, 0 failed, 1 skipped"))
            shutil.rmtree(os.path.join(folder, "b"))
            self.assertEqual(self.run_tool(folder, "-Dbad=true"),
                             (1, "4 passed, 3 failed, 1 skipped"))

    def test_missing_build_is_a_failure(self):
        ran = subprocess.run([sys.executable, TEST, "nosuch"], text=True, check=False,
                             stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.assertEqual(ran.returncode, 1)
        self.assertEqual(ran.stdout.splitlines()[-1], "0 passed, 1 failed, 0 skipped")


def add_record(name):
    setattr(Test, f"test_{name}", lambda self: self.expect(RECORDS[name]))


for record_name in RECORDS:
    add_record(record_name)
