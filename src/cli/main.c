/* snug: the program. One row per command; everything else is in the library. */
#include <signal.h>
#include <string.h>

#include "cli/options.h"
#include "engine/worker.h"
#include "engine/probe_worker.h"
#include "machine/load_worker.h"

const struct cli_command cli_commands[] = {
    {"probe", "", "what this machine is and what is free now",
     "Reads cores, caches, limits of containers, memory, pressure and devices, and says where "
     "each\n"
     "fact comes from. With --measure it also times memory and matrix products.",
     "snug probe --measure", PROBE, cmd_probe, false, NULL},
    {"inspect", "MODEL", "what a model is: architecture, tensors, sizes",
     "MODEL is a GGUF file (any part of a split one), a preset such as llama3-8b or "
     "qwen3-0.6b:q4_0,\n"
     "a Hugging Face folder (config.json, *.safetensors), the http(s) URL of a GGUF, or\n"
     "hf:USER/REPO[:QUANT]. Reads headers only; of a URL nothing else is fetched, and HF_TOKEN is\n"
     "used on the hub alone.",
     "snug inspect qwen3-0.6b:q4_0", INSPECT, cmd_inspect, false, NULL},
    {"synth", "PRESET", "write a model of real shape with random weights",
     "For trying a machine before a download: same tensors, types and vocabulary size as the real\n"
     "model, random weights from a seed. It answers nonsense, as fast as the real one.",
     "snug synth qwen3-0.6b --type q4_0 -o q.gguf", SYNTH, cmd_synth, false, NULL},
    {"bench", "MODEL", "measure configs well",
     "Warm-up until speed settles, then timed blocks until their spread is small. Rows and names "
     "as\n"
     "llama-bench prints them, and the columns it lacks. Speeds are medians; +- is the MAD.",
     "snug bench model.gguf --n-threads 1,2 --flash-attn on,off", BENCH, cmd_bench, true, NULL},
    {"tune", "MODEL", "find the fastest config that fits the memory allowed",
     "Measures llama.cpp's default and its --fit choice, then tries other configs one at a time,\n"
     "learning from each. At the end the pick and the default are measured again, alternately, "
     "and\n"
     "the gain is printed with its interval. Every trial is kept; Ctrl-C keeps what is known.\n"
     "Context and everything else that changes the answer is left alone. The front is of memory "
     "and\n"
     "the speed of --objective, or of up to three of them; what is past a limit (--memory,\n"
     "--max-ttft, --max-tpot, --max-kld) is never picked.",
     "snug tune model.gguf --memory 2GiB --trials 16", TUNE, cmd_tune, true, NULL},
    {"front", "[MODEL]", "the known configs that nothing beats in both speed and memory",
     "Of the newest task that was tuned, of this model or of all.", "snug front model.gguf", FRONT,
     cmd_front, false, NULL},
    {"history", "[WHAT ..]", "every task and trial that is known; export, import, undo",
     "WHAT is one of\n"
     "  list                 tasks, newest first, and imports; the same without WHAT\n"
     "  MODEL                every trial of each of its tasks\n"
     "  export FILE [MODEL]  tasks and trials of all models, or of one, as one file for another\n"
     "                       machine: without paths, names, hosts or texts of errors\n"
     "  import FILE          add such a file: all of it or, where anything is wrong, nothing; "
     "trials\n"
     "                       that are here already are not doubled\n"
     "  undo IMPORT          take an import back, by its number or its FILE; what was measured "
     "here\n"
     "                       stays\n"
     "FILE may be - (stdin, stdout). A machine is told by its CPU, caches, memory and limits; "
     "trials of\n"
     "another one are never taken for this one's.",
     "snug history export laptop.snug", HISTORY, cmd_history, false, NULL},
    {"knobs", "MODEL", "which knobs matter, from all trials that are known",
     "Fits random forests to the log of each metric over the stored configs, on resampled "
     "configs,\n"
     "and prints for each knob its effect (mean |Shapley value|, in per cent of the metric) and "
     "its\n"
     "share of the variance over all combinations of the values tried, with 95 % intervals. "
     "keep:\n"
     "told apart from chance, however small: the whole interval is above what a shuffled copy of "
     "the\n"
     "knob gets; drop: not told apart, and more than 1 % would have been seen; open: not told "
     "apart "
     "yet.\n"
     "Failed trials have no metric, and a row of their own (fails) where some configs fail. Of "
     "other\n"
     "workloads and builds the typical speed is taken off first. Runs nothing; never adds metrics "
     "up.",
     "snug knobs model.gguf --rank", KNOBS, cmd_knobs, false, NULL},
    {"export", "[MODEL]", "every trial with its machine, model and raw blocks",
     "One JSON object or CSV row per trial; front, history and report are made from the same data.",
     "snug export model.gguf --format csv -o trials.csv", EXPORT, cmd_export, false, NULL},
    {"pick", "MODEL", "the best known safe config under the memory given or free now",
     "Looks only at what was measured on this machine; measures nothing.",
     "snug pick model.gguf --memory 2GiB", PICK, cmd_pick, false, NULL},
    {"run", "MODEL", "pick, then start llama-server or llama-cli with it",
     "What follows -- goes to the program unchanged. With --adapt snug stays in front: it\n"
     "serves everything that llama-server serves (OpenAI's completions and chat among it) on\n"
     "one port, watches free memory, free CPUs and the speed that requests get, and moves to\n"
     "another measured config when the present one fits no more, or another one is expected to\n"
     "be 10 % faster for some seconds. Requests in flight finish: they have 10 min, 1 min where\n"
     "the next config has no room beside the old one, 10 s where memory got short. One without\n"
     "an answer leaves a server that became less than half as fast, and begins again.\n"
     "GET /snug/status tells how it stands. The server's cache of old prompts is off\n"
     "(-- --cache-ram N sets it), and no LLAMA_ARG_ variable reaches it.",
     "snug run model.gguf --adapt --port 8080", RUN, cmd_run, false, "extra flags"},
    {"lab", "FILE", "rounds of configs from a YAML file, measured to a report",
     "FILE names models, workloads, a baseline and rounds of knobs; examples/rounds has some, and\n"
     "docs/ROUNDS.md says what may stand in one. Rounds are interleaved and the baseline recurs, "
     "so\n"
     "drift hits all alike. Every row is stored before the next begins; Ctrl-C keeps what is "
     "known.",
     "snug lab examples/rounds/smoke.yaml", LAB, cmd_lab, false, NULL},
    {"report", "[MODEL]", "one self-contained HTML page of a task",
     "Machine, model, every trial, the front, the progress, and the pick against the default.",
     "snug report model.gguf -o report.html", REPORT, cmd_report, false, NULL},
    {"compare", "A B", "two configs, measured alternately: which is faster, and is it sure",
     "A and B are each MODEL, MODEL:KNOB=VALUE,... or, for B, only KNOB=VALUE,... of A's model. "
     "Both\n"
     "are measured in pairs in random order; the ratio comes with a 95 % bootstrap interval, and\n"
     "\"no difference shown\" is an answer. Two numbers compare two stored trials as they are, "
     "and\n"
     "FILE:ROUND FILE:ROUND two rounds of a lab's results.json.",
     "snug compare model.gguf flash_attn=off", COMPARE, cmd_compare, true, NULL},
    {"eval", "MODEL", "what a configuration costs in quality",
     "Perplexity with its error, computed as llama-perplexity does; with --reference also how far\n"
     "the model strays from it: KL divergence, and how often the most likely token is the same. "
     "The\n"
     "whole configuration counts, cache types too. Tables of speed show the result from then on.",
     "snug eval model-q4_0.gguf --reference model-f16.gguf --text wiki.txt", EVAL, cmd_eval, true,
     NULL},
    {"trace", "MODEL", "one request as a timeline: load, tokenise, prefill, decode, sampling",
     "Writes a trace for ui.perfetto.dev or chrome://tracing: one event for every ubatch of "
     "prefill,\n"
     "every decode step and every sampling, with resident memory, CPU frequency and tokens in the\n"
     "cache as counters. Nothing is warmed up, and an end of text does not end it.",
     "snug trace model.gguf -n 64 -o trace.json", TRACE, cmd_trace, true, NULL},
    {"plan", "MODEL", "what fits, how fast, at what loss: types, cache, placement, without running",
     "MODEL is a GGUF file, a Hugging Face folder, a preset or a URL (only headers are read). One "
     "type\n"
     "per tensor, cache types, context and placement are chosen together: the least loss that fits "
     "in\n"
     "memory and is fast enough. Speed and loss come with intervals; the sum of losses is proved "
     "least,\n"
     "or its gap is said. The machine is this one, measured once, or a preset.\n"
     "Make the file with snug quantize --plan.",
     "snug plan model-f16.gguf --memory 6GiB -o plan.json", PLAN, cmd_plan, false, NULL},
    {"quantize", "MODEL", "make the file of a plan, or of a recipe, with a type for every tensor",
     "MODEL is the f16, bf16 or f32 GGUF. With --plan every tensor gets the type that snug plan "
     "chose;\n"
     "with --type libllama's own recipe is followed. Shapes, sizes and the room on the disk are "
     "checked\n"
     "first; the file is read back before it gets its name, and Ctrl-C leaves nothing.",
     "snug quantize model-f16.gguf --plan plan.json -o model.gguf", QUANTIZE, cmd_quantize, false,
     NULL},
    {"imatrix", "MODEL", "what the weights meet: activation statistics of a text",
     "Runs the text through the model and writes mean squares of what each column of each weight\n"
     "is multiplied with, in llama.cpp's format. snug quantize and snug sensitivity weigh errors "
     "with\n"
     "it, and types below 3 bits need it.",
     "snug imatrix model-f16.gguf --text calibration.txt", IMATRIX, cmd_imatrix, false, NULL},
    {"sensitivity", "MODEL", "which tensors deserve the bits",
     "What each tensor would lose in each type, in nats per token of KL divergence from MODEL, "
     "which\n"
     "must hold F32, F16 or BF16 weights. By weights: their reconstruction error, in about a "
     "minute;\n"
     "by imatrix: weighted by activation statistics of snug imatrix; by kld: measured over a "
     "text,\n"
     "group by group, kept in the history as it goes, so that the same command goes on after a "
     "stop;\n"
     "by position: a guess. What was not measured comes with the interval that tests have shown.",
     "snug sensitivity model-f16.gguf --method kld --text wiki.txt -o sens.json", SENSITIVITY,
     cmd_sensitivity, false, NULL},
    {"load", "", "make real load to measure beside: cores, memory, traffic, disk",
     "Keeps cores busy, holds touched memory, reads memory and a disk at stated rates, at normal\n"
     "priority, and says what it really reached. It never takes the last 5 % (at least 256 MiB) of "
     "the\n"
     "memory that is available, and gives memory back when others want it. With a command behind "
     "--\n"
     "it runs that under the load, ends with it and passes on its exit status. Its threads, memory "
     "and\n"
     "scratch file are gone then, also after kill -9; a --folder that was made stays, and so does "
     "what\n"
     "the command itself left running.",
     "snug load --profile mid -- snug bench model.gguf", LOAD, cmd_load, false, "COMMAND ..."},
    {NULL, NULL, NULL, NULL, NULL, 0, NULL, false, NULL},
};

const struct cli_command *cli_find_command(const char *name)
{
    for (const struct cli_command *c = cli_commands; c->name; c++) {
        if (strcmp(c->name, name) == 0)
            return c;
    }
    return NULL;
}

void cli_help(FILE *out)
{
    fputs("snug fits a language model to the machine you have.\n\n"
          "Usage: snug COMMAND [options]\n\nCommands:\n",
          out);
    for (const struct cli_command *c = cli_commands; c->name; c++)
        fprintf(out, "  %-11s %-9s %s\n", c->name, c->operands, c->summary);
    fputs("\nsnug COMMAND --help tells more; snug --version prints the version.\n"
          "Exit status: 0 done, 1 failed, 2 misuse.\n\nStart with:\n  snug tune model.gguf\n",
          out);
}

static const char *next_command(int i)
{
    return cli_commands[i].name;
}

static int unknown_command(const char *name)
{
    const char *near = cli_nearest(name, next_command);
    if (near)
        return cli_fail_text(CLI_MISUSE, "no command '%s'; did you mean '%s'?", name, near);
    return cli_fail_text(CLI_MISUSE, "no command '%s'; see snug --help", name);
}

int main(int argc, char **argv)
{
    /* A closed pipe and a file size limit are errors to report, not reasons to die. */
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN);
    if (argc == 2 && strcmp(argv[1], "__worker") == 0)
        return snug__worker_main();
    if (argc == 2 && strcmp(argv[1], "__probe") == 0)
        return snug__probe_main();
    if (argc == 2 && strcmp(argv[1], "__load") == 0)
        return snug__load_main();
    if (argc > 2 && strcmp(argv[1], "__engine") == 0)
        return cli_run_engine(argv + 2);
    if (argc > 2 && strcmp(argv[1], "__under") == 0)
        return cli_load_under(argv + 2);
    if (argc < 2) {
        cli_help(stderr);
        return CLI_MISUSE;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 ||
        (strcmp(argv[1], "help") == 0 && argc == 2)) {
        cli_help(stdout);
        return cli_put("");
    }
    if (strcmp(argv[1], "--version") == 0) {
        printf("snug %s\n", snug_version());
        return cli_put("");
    }
    const char *name = strcmp(argv[1], "help") == 0 ? argv[2] : argv[1];
    const struct cli_command *command = cli_find_command(name);
    if (!command)
        return unknown_command(name);
    struct cli_args args;
    if (name == argv[2]) {
        cli_help_command(stdout, command);
        return cli_put("");
    }
    if (!cli_parse(command, argc - 2, argv + 2, &args))
        return CLI_MISUSE;
    if (args.help) {
        cli_help_command(stdout, command);
        return cli_put("");
    }
    cli_set_quiet(args.quiet);
    return command->run(&args);
}
