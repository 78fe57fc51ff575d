/* Options by the rows of the table: parsing, error texts, --help. Knob rows of the engine become
 * options of the commands that measure. */
#include "cli/options.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "snug/engine.h"
#include "snug/goal.h"
#include "snug/units.h"

/* ---- finding ---- */

static const struct cli_option *find_option(const struct cli_command *command, const char *name,
                                            size_t n, char letter)
{
    for (int i = 0; i < cli_n_options; i++) {
        const struct cli_option *o = &cli_options[i];
        if (!(o->commands & command->bit))
            continue;
        if (letter ? o->letter == letter : strlen(o->name) == n && strncmp(o->name, name, n) == 0)
            return o;
    }
    return NULL;
}

/* llama.cpp's short names of knobs. */
static const struct {
    const char *word, *knob;
} SHORT_KNOBS[] = {
    {"-t", "n_threads"}, {"-tb", "n_threads_batch"}, {"-b", "n_batch"},
    {"-ub", "n_ubatch"}, {"-fa", "flash_attn"},      {"-ctk", "type_k"},
    {"-ctv", "type_v"},  {"-lm", "load_mode"},       {"-ngl", "n_gpu_layers"},
    {"-dev", "device"},  {"-C", "cpu_mask"},         {"-kvu", "kv_unified"},
};

static const char *find_short_knob(const char *word)
{
    for (size_t i = 0; i < sizeof SHORT_KNOBS / sizeof *SHORT_KNOBS; i++) {
        if (strcmp(SHORT_KNOBS[i].word, word) == 0)
            return SHORT_KNOBS[i].knob;
    }
    return NULL;
}

/* Knobs answer to their own name with dashes and to llama.cpp's flag. */
const char *cli_find_knob(const char *name, size_t n)
{
    const struct snug_space *rows = snug_engine_rows();
    char dashed[64];
    for (int i = 0; i < rows->n; i++) {
        const struct snug_knob *knob = &rows->knobs[i];
        snprintf(dashed, sizeof dashed, "%s", knob->name);
        for (char *p = dashed; *p; p++)
            *p = *p == '_' ? '-' : *p;
        const char *flag = knob->flag + 2;
        const size_t n_flag = strcspn(flag, " ");
        if ((strlen(dashed) == n && strncmp(dashed, name, n) == 0) ||
            (strlen(knob->name) == n && strncmp(knob->name, name, n) == 0) ||
            (n_flag == n && strncmp(flag, name, n) == 0))
            return knob->name;
    }
    return NULL;
}

static const struct cli_command *nearest_for;

static const char *next_option(int i)
{
    int seen = 0;
    for (int k = 0; k < cli_n_options; k++) {
        if ((cli_options[k].commands & nearest_for->bit) && seen++ == i)
            return cli_options[k].name;
    }
    return NULL;
}

/* ---- values ---- */

static bool is_choice(const char *choices, const char *text)
{
    const size_t n = strlen(text);
    for (const char *p = choices; n > 0 && *p;) {
        const size_t len = strcspn(p, "|");
        if (len == n && strncmp(p, text, n) == 0)
            return true;
        p += len + (p[len] == '|');
    }
    return false;
}

static bool parse_number(const char *text, double above, double *out)
{
    char *end = NULL;
    const double value = strtod(text, &end);
    if (end == text || *end || !isfinite(value) || value <= above)
        return false;
    *out = value;
    return true;
}

static bool take_value(const struct cli_option *o, const char *text, struct cli_args *out)
{
    char *base = (char *)out;
    struct snug_error err = {0};
    struct snug_goal goal = {.n_axes = 0};
    snug_status status = SNUG_OK;
    char name[64];
    snprintf(name, sizeof name, "--%s", o->name);
    switch (o->kind) {
    case FLAG:
        *(bool *)(base + o->at) = true;
        break;
    case TEXT:
        *(const char **)(base + o->at) = text;
        break;
    case CHOICE:
        if (!is_choice(o->value, text))
            status = snug_fail(&err, SNUG_BAD_INPUT, "'%s' is none of %s", text, o->value);
        *(const char **)(base + o->at) = text;
        break;
    case GOAL: /* read again where it is used; here for its errors */
        status = snug_goal_parse(text, &goal, &err);
        *(const char **)(base + o->at) = text;
        break;
    case BYTES:
        status = snug_bytes_parse(text, (uint64_t *)(base + o->at), &err);
        if (status == SNUG_OK && *(uint64_t *)(base + o->at) == 0)
            status = snug_fail(&err, SNUG_BAD_INPUT, "0 is no limit that anything fits");
        break;
    case SECONDS:
        status = snug_seconds_parse(text, (double *)(base + o->at), &err);
        break;
    case NUMBER:
        if (!parse_number(text, (double)o->min, (double *)(base + o->at)))
            status = snug_fail(&err, SNUG_BAD_INPUT, "'%s' is no number above %lld", text,
                               (long long)o->min);
        break;
    case INT:
        status = snug_int_parse(name, text, o->min, o->max, (int64_t *)(base + o->at), &err);
        break;
    case LIST:
        if (out->n_require == CLI_LIST_MAX)
            status = snug_fail(&err, SNUG_BAD_INPUT, "more than %d thresholds", CLI_LIST_MAX);
        else
            out->require[out->n_require++] = text;
        break;
    }
    if (status != SNUG_OK) {
        cli_fail_text(CLI_MISUSE, o->kind == INT ? "%s%s" : "%s: %s", o->kind == INT ? "" : name,
                      err.text);
        return false;
    }
    if (o->at_has)
        *(bool *)(base + o->at_has) = true;
    return true;
}

static bool unknown_option(const struct cli_command *command, const char *word)
{
    nearest_for = command;
    const char *near = cli_nearest(word + strspn(word, "-"), next_option);
    if (near)
        cli_fail_text(CLI_MISUSE, "snug %s has no option '%s'; did you mean --%s?", command->name,
                      word, near);
    else
        cli_fail_text(CLI_MISUSE, "snug %s has no option '%s'; see snug %s --help", command->name,
                      word, command->name);
    return false;
}

static bool take_knob(const char *name, const char *text, struct cli_args *out)
{
    if (out->n_knobs == CLI_KNOBS_MAX) {
        cli_fail_text(CLI_MISUSE, "more than %d knobs", CLI_KNOBS_MAX);
        return false;
    }
    out->knobs[out->n_knobs].name = name;
    out->knobs[out->n_knobs++].text = text;
    return true;
}

/* One option word at argv[i]; returns how many words it took, 0 on misuse. */
static int take_option(const struct cli_command *command, int argc, char **argv, int i,
                       struct cli_args *out)
{
    const char *word = argv[i];
    const bool is_long = word[1] == '-';
    const char *short_knob = command->takes_knobs ? find_short_knob(word) : NULL;
    if (short_knob && i + 1 < argc)
        return take_knob(short_knob, argv[i + 1], out) ? 2 : 0;
    const char *name = word + (is_long ? 2 : 1);
    const size_t n = is_long ? strcspn(name, "=") : 1;
    const char *inline_value =
        is_long ? (name[n] == '=' ? name + n + 1 : NULL) : (name[1] ? name + 1 : NULL);
    const struct cli_option *o = find_option(command, name, n, is_long ? 0 : name[0]);
    const char *knob = !o && is_long && command->takes_knobs ? cli_find_knob(name, n) : NULL;
    if (!o && !knob)
        return unknown_option(command, word);
    if (o && o->kind == FLAG) {
        if (inline_value) {
            cli_fail_text(CLI_MISUSE, "--%s takes no value", o->name);
            return 0;
        }
        return take_value(o, NULL, out);
    }
    const char *value = inline_value ? inline_value : i + 1 < argc ? argv[i + 1] : NULL;
    if (!value) {
        cli_fail_text(CLI_MISUSE, "%s needs a value%s%s", word, o ? ": " : "", o ? o->value : "");
        return 0;
    }
    const bool is_taken = o ? take_value(o, value, out) : take_knob(knob, value, out);
    int n_words = inline_value ? 1 : 2;
    while (is_taken && o && o->kind == LIST && i + n_words < argc && argv[i + n_words][0] != '-' &&
           strpbrk(argv[i + n_words], "<>")) {
        if (!take_value(o, argv[i + n_words], out))
            return 0;
        n_words++;
    }
    return is_taken ? n_words : 0;
}

/* Commands of two operands name them with a space between: "A B"; ".." allows a third. */
static bool take_operand(const struct cli_command *command, char *word, struct cli_args *out)
{
    if (command->operands[0] && !out->operand)
        out->operand = word;
    else if (out->operand && !out->operand2 && strchr(command->operands, ' '))
        out->operand2 = word;
    else if (out->operand2 && !out->operand3 && strstr(command->operands, ".."))
        out->operand3 = word;
    else
        return false;
    return true;
}

bool cli_parse(const struct cli_command *command, int argc, char **argv, struct cli_args *out)
{
    *out = (struct cli_args){0};
    for (int i = 0; i < argc;) {
        if (strcmp(argv[i], "--") == 0 && command->rest) {
            out->rest = argv + i + 1;
            out->n_rest = argc - i - 1;
            break;
        }
        if (argv[i][0] == '-' && argv[i][1]) {
            const int took = take_option(command, argc, argv, i, out);
            if (took == 0)
                return false;
            i += took;
            continue;
        }
        if (!take_operand(command, argv[i], out)) {
            cli_fail_text(CLI_MISUSE, "snug %s does not know what to do with '%s'", command->name,
                          argv[i]);
            return false;
        }
        i++;
    }
    const bool is_short = !out->operand || (strchr(command->operands, ' ') && !out->operand2);
    if (!out->help && is_short && command->operands[0] && command->operands[0] != '[') {
        cli_fail_text(CLI_MISUSE, "snug %s needs %s; see snug %s --help", command->name,
                      command->operands, command->name);
        return false;
    }
    return true;
}

/* ---- help ---- */

static void help_option(FILE *out, const struct cli_option *o)
{
    char left[96];
    const int n = o->letter ? snprintf(left, sizeof left, "-%c, --%s", o->letter, o->name)
                            : snprintf(left, sizeof left, "    --%s", o->name);
    if (o->value)
        snprintf(left + n, sizeof left - (size_t)n, " %s", o->value);
    if (strlen(left) > 28)
        fprintf(out, "  %s\n  %-28s  %s\n", left, "", o->help);
    else
        fprintf(out, "  %-28s  %s\n", left, o->help);
}

static void help_knobs(FILE *out, const struct cli_command *command)
{
    const struct snug_space *rows = snug_engine_rows();
    fprintf(out, "\nKnobs (also by llama.cpp's names, such as --threads or -t; %s):\n",
            command->bit == BENCH   ? "a comma list measures every combination"
            : command->bit == TRACE ? "one value each"
                                    : "what is set here stays so in every trial");
    for (int i = 0; i < rows->n; i++) {
        const struct snug_knob *knob = &rows->knobs[i];
        char left[96];
        snprintf(left, sizeof left, "--%s", knob->name);
        for (char *p = left; *p; p++)
            *p = *p == '_' ? '-' : *p;
        fprintf(out, "      %-24s  %s", left, knob->help);
        if (knob->kind == SNUG_KNOB_ENUM) {
            fputs(": ", out);
            for (int v = 0; v < knob->n_values; v++)
                fprintf(out, "%s%s", v ? ", " : "", knob->values[v]);
        } else if (knob->kind == SNUG_KNOB_BOOL) {
            fputs(": on, off", out);
        }
        fputc('\n', out);
    }
}

void cli_help_command(FILE *out, const struct cli_command *command)
{
    fprintf(out, "snug %s: %s\n\nUsage: snug %s %s%s[options]%s%s%s\n\n%s\n\nOptions:\n",
            command->name, command->summary, command->name, command->operands,
            command->operands[0] ? " " : "", command->rest ? " [-- " : "",
            command->rest ? command->rest : "", command->rest ? "]" : "", command->about);
    for (int i = 0; i < cli_n_options; i++) {
        if (cli_options[i].commands & command->bit)
            help_option(out, &cli_options[i]);
    }
    if (command->takes_knobs)
        help_knobs(out, command);
    fprintf(out, "\nExample:\n  %s\n", command->example);
}
