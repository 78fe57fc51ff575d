"""tools/check: each rule fires on a planted slip, at its line, and on nothing else."""
import importlib.machinery
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import unittest

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
CHECK = os.path.join(ROOT, "tools", "check")
LOADER = importlib.machinery.SourceFileLoader("check", CHECK)
check = importlib.util.module_from_spec(importlib.util.spec_from_loader("check", LOADER))
LOADER.exec_module(check)


def function(n_lines, head="void f(void)", above=""):
    """A C function whose body has n_lines lines, braces included."""
    body = "    f();\n" * (n_lines - 2)
    return f"{above}{head}\n{{\n{body}}}\n"


def parameters(n):
    return "void f(" + ", ".join(f"int a{i}" for i in range(n)) + ")"


# name: (file, its text, the slip expected: "line: part of the message", or None for none)
PLANTED = {
    "file_at_600_lines": ("src/base/a.c", "int a;\n" * 600, None),
    "file_at_601_lines": ("src/base/a.c", "int a;\n" * 601, "601: file of 601 lines"),
    "file_of_601_lines_marked": ("src/base/a.c", "/* snug:long data */\n" + "int a;\n" * 600, None),
    "test_at_601_lines": ("tests/unit/test_a.c", "int a;\n" * 601, "601: file of 601 lines"),
    "header_at_350_lines": ("include/snug/base.h", "int a;\n" * 350, None),
    "header_at_351_lines": ("include/snug/base.h", "int a;\n" * 351, "351: file of 351 lines"),
    "mark_without_reason": ("src/base/a.c", "/* snug:long */\n", "1: needs a reason"),
    "mark_in_a_string": ("src/base/a.c", 'char *s = "snug:long x";\n' + "int a;\n" * 600,
                         "601: file of 601"),
    "function_at_70_lines": ("src/base/a.c", function(70), None),
    "function_at_71_lines": ("src/base/a.c", function(71), "2: function of 71 lines"),
    "function_of_71_lines_marked": (
        "src/base/a.c", function(71, above="/* Why.\n * snug:long one table */\n"), None),
    "function_mark_lifts_its_own": (
        "src/base/a.c", function(71, above="/* snug:long table */\n") + "\n" + function(71),
        "76: function of 71 lines"),
    "function_mark_lifts_no_file": (
        "src/base/a.c", "int a;\n" * 600 + function(3, above="\n/* snug:long t */\n"),
        "601: file of 606 lines"),
    "file_mark_lifts_no_function": ("src/base/a.c", "/* snug:long data */\n\n" + function(71),
                                    "4: function of 71 lines"),
    "parameters_at_7": ("src/base/a.c", function(3, parameters(7)), None),
    "parameters_at_8": ("src/base/a.c", function(3, parameters(8)), "1: 8 parameters"),
    "parameters_over_two_lines": (
        "src/base/a.c", function(3, parameters(8).replace("a3, ", "a3,\n       ")),
        "1: 8 parameters"),
    "parameters_inside_a_callback": (
        "src/base/a.c", function(3, "void f(int a, int (*g)(int, int, int, int, int, int, int))"),
        None),
    "include_upward": ("src/base/a.c", '\n#include "machine/probe.h"\n', "2: upward include"),
    "include_upward_public": ("src/model/a.c", '#include "snug/tune.h"\n', "1: upward include"),
    "include_upward_angled": ("src/base/a.c", "#include <snug/trial.h>\n", "1: upward include"),
    "include_sideways": ("src/report/a.c", '#include "snug/store.h"\n', "1: sideways include"),
    "include_downward": ("src/tune/strategies/a.c",
                         '#include "engine/engine_row.h"\n#include "snug/units.h"\n', None),
    "include_own_room": ("src/model/a.c", '#include "model/b.h"\n#include "snug/model.h"\n', None),
    "include_commented_out": ("src/base/a.c", '/*\n#include "tune/gp.h"\n*/\n', None),
    "include_without_room": ("src/base/a.c", '#include "json.h"\n', '1: as in "base/json.h"'),
    "include_unknown_public": ("src/cli/a.c", '#include "snug/nosuch.h"\n', "1: no known room"),
    "include_upward_from_public": ("include/snug/units.h", '#include "snug/trial.h"\n',
                                   "1: upward include: base is below trial"),
    "include_private_from_public": ("include/snug/trial.h", '#include "base/json.h"\n',
                                    "1: includes private base/json.h"),
    "room_unknown": ("src/attic/a.c", "int a;\n", "1: 'attic' is no room"),
    "room_missing": ("src/a.c", "int a;\n", "1: '' is no room"),
    "example_with_private_header": ("examples/a.c", '#include "base/json.h"\n', "1: only snug/"),
    "yyjson_outside_json": ("src/base/a.c", "#include <yyjson.h>\n", "1: yyjson.h is wrapped"),
    "yyjson_in_json": ("src/base/json.c", "#include <yyjson.h>\n", None),
    "sqlite_outside_store": ("src/cli/a.c", "#include <sqlite3.h>\n", "1: sqlite3.h is wrapped"),
    "hwloc_outside_machine": ("src/engine/a.c", "#include <hwloc.h>\n", "1: hwloc.h is wrapped"),
    "llama_outside_engine": ("src/cli/a.c", "#include <llama.h>\n", "1: llama.h is wrapped"),
    "ggml_outside_its_rooms": ("src/tune/a.c", "#include <ggml-backend.h>\n",
                               "1: ggml-backend.h is wrapped"),
    "nlopt_outside_tune": ("src/base/a.c", "#include <nlopt.h>\n", "1: nlopt.h is wrapped"),
    "lapacke_outside_tune": ("src/base/a.c", "#include <lapacke.h>\n", "1: lapacke.h is wrapped"),
    "llama_in_engine": ("src/engine/a.c", "#include <llama.h>\n#include <ggml.h>\n", None),
    "llama_in_a_test": ("tests/unit/test_a.c", "#include <llama.h>\n", None),
    "banned_with_a_space": ("src/cli/a.c", "int a = atoi (s);\n", "1: atoi is banned"),
    "banned_in_a_test": ("tests/unit/test_a.c", "\n\nint a = fork();\n", "3: fork is banned"),
    "banned_in_a_comment": ("src/base/a.c", "/* not strcpy(a, b) */ // nor gets(a)\n", None),
    "banned_in_a_string": ("src/base/a.c", 'char *s = "\\"system(a)";\n', None),
    "banned_as_part_of_a_name": ("src/base/a.c", "int a = m->system(1) + vsnug_atoi(2);\n", None),
    "print_in_a_library": ("src/tune/a.c", 'int a = printf("x");\n', "1: printf outside"),
    "stderr_in_a_library": ("src/tune/a.c", 'int a = fputs("x", stderr);\n', "1: stderr outside"),
    "exit_in_a_library": ("src/store/a.c", "\nvoid f(void) { exit(1); }\n", "2: exit outside"),
    "print_to_memory": ("src/base/a.c", "int a = snprintf(s, n, f) + fprintf(file, f);\n", None),
    "print_in_the_cli": ("src/cli/a.c", "void f(void) { printf(s); exit(1); }\n", None),
    "todo_without_owner": ("docs/A.md", "fine\nTO" + "DO later\n", "2: needs an owner"),
    "todo_with_owner": ("docs/A.md", "TO" + "DO(ada): later\n", None),
    "fixme_without_owner": ("src/base/a.c", "/* FIX" + "ME */\n", "1: needs an owner"),
    "template_of_six": ("tests/cli/a.case", "x-XX" + "XXXX\n", None),
    "path_of_one_machine": ("README.md", "see /wor" + "k/main\n", "1: a path of one machine"),
    "data_by_path": ("docs/A.md", "in ../shar" + "ed/data\n", "1: SNUG_TEST_DATA"),
    "data_by_path_in_the_makefile": ("Makefile", "D ?= ../shar" + "ed/data\n", None),
    "made_folders_are_not_read": ("build-x/a.c", "TO" + "DO\n", None),
}
BANNED = "strcpy strcat sprintf gets atoi atof strtok fork vfork system popen".split()
for banned_name in BANNED:
    PLANTED[f"banned_{banned_name}"] = ("src/cli/a.c", f"int a = {banned_name}(1);\n",
                                        f"1: {banned_name} is banned")


class Check(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory(prefix="snug-test-")
        self.addCleanup(self.folder.cleanup)
        self.put("a.txt", "a tree is never empty\n")

    def put(self, path, text):
        full = os.path.join(self.folder.name, path)
        os.makedirs(os.path.dirname(full), exist_ok=True)
        with open(full, "wb") as file:
            file.write(text if isinstance(text, bytes) else text.encode())

    def run_check(self, *more):
        ran = subprocess.run([sys.executable, CHECK, "--root", self.folder.name, *more], text=True,
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
        return ran.returncode, ran.stdout.splitlines(), ran.stderr

    def planted(self, name):
        path, text, expected = PLANTED[name]
        self.put(path, text)
        slips, _ = check.check_tree(self.folder.name, [], use_format=False)
        if expected is None:
            self.assertEqual(slips, [])
            return
        line, _, part = expected.partition(": ")
        self.assertEqual([slip[:2] for slip in slips], [(path, int(line))], slips)
        self.assertIn(part, slips[0][2])

    def test_slips_are_listed_by_place(self):
        self.put("src/base/b.c", "int a = atoi(b);\n")
        self.put("src/base/a.c", "int a;\nint b = gets(c);\nint c = atof(d);\n")
        status, slips, _ = self.run_check("--no-format")
        self.assertEqual(status, 1)
        self.assertEqual([slip.split(": ")[0] for slip in slips],
                         ["src/base/a.c:2", "src/base/a.c:3", "src/base/b.c:1"])

    def test_paths_limit_what_is_read(self):
        self.put("src/base/b.c", "int a = atoi(b);\n")
        self.assertEqual(self.run_check("--no-format", "a.txt")[:2], (0, []))
        self.assertEqual(self.run_check("--no-format", "src/")[0], 1)

    def test_binary_files_are_left_alone(self):
        self.put("fuzz/corpus/a", b"\0TO" + b"DO")
        self.put("fuzz/corpus/b", b"\xff\xfeTO" + b"DO")
        self.assertEqual(self.run_check("--no-format")[:2], (0, []))

    def test_no_file_is_a_failure(self):
        self.assertEqual(self.run_check("--no-format", "nosuch")[0], 1)

    @unittest.skipUnless(shutil.which("clang-format"), "clang-format is not installed")
    def test_format_is_checked(self):
        shutil.copy(os.path.join(ROOT, ".clang-format"), self.folder.name)
        self.put("src/base/a.c", "int a;\nint  b;\nint   c;\n")
        self.put("src/base/b.c", "int a;\n")
        status, slips, _ = self.run_check()
        self.assertEqual(status, 1)
        self.assertEqual(len(slips), 1, slips)
        self.assertTrue(slips[0].startswith("src/base/a.c:2: not as clang-format"), slips[0])

    def test_format_without_its_tool_is_a_failure(self):
        self.put("src/base/a.c", "int a;\n")
        ran = subprocess.run([sys.executable, CHECK, "--root", self.folder.name], text=True,
                             env={"PATH": self.folder.name}, stdout=subprocess.PIPE, check=False)
        self.assertEqual(ran.returncode, 1)
        self.assertIn("clang-format is missing", ran.stdout)


def add_planted(name):
    setattr(Check, f"test_{name}", lambda self: self.planted(name))


for planted_name in PLANTED:
    add_planted(planted_name)
