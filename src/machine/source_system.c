/* Name, instruction sets and system of a machine: /proc/cpuinfo (x86, Arm, others),
 * /etc/os-release, /proc/sys/kernel. Also its present memory, load and pressure. */
#include "machine/probe.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>

/* Instruction sets that ggml's CPU kernels are chosen by: name in /proc/cpuinfo, name shown. */
static const struct {
    const char *flag, *name;
} isa_table[] = {
    {"sse4_2", "sse42"},
    {"avx", "avx"},
    {"avx2", "avx2"},
    {"fma", "fma"},
    {"f16c", "f16c"},
    {"bmi2", "bmi2"},
    {"avx_vnni", "avxvnni"},
    {"avx512f", "avx512f"},
    {"avx512bw", "avx512bw"},
    {"avx512vl", "avx512vl"},
    {"avx512vbmi", "avx512vbmi"},
    {"avx512_vnni", "avx512vnni"},
    {"avx512_bf16", "avx512bf16"},
    {"avx512_fp16", "avx512fp16"},
    {"amx_tile", "amxtile"},
    {"amx_int8", "amxint8"},
    {"amx_bf16", "amxbf16"},
    /* Arm */
    {"asimd", "neon"},
    {"neon", "neon"},
    {"asimdhp", "fp16"},
    {"asimddp", "dotprod"},
    {"i8mm", "i8mm"},
    {"bf16", "bf16"},
    {"sve", "sve"},
    {"sve2", "sve2"},
    {"sme", "sme"},
};

/* Part numbers of Arm Ltd (implementer 0x41), from its technical reference manuals. */
static const struct {
    unsigned part;
    const char *name;
} arm_parts[] = {
    {0xd03, "Cortex-A53"},  {0xd04, "Cortex-A35"},  {0xd05, "Cortex-A55"},  {0xd07, "Cortex-A57"},
    {0xd08, "Cortex-A72"},  {0xd09, "Cortex-A73"},  {0xd0a, "Cortex-A75"},  {0xd0b, "Cortex-A76"},
    {0xd0c, "Neoverse-N1"}, {0xd0d, "Cortex-A77"},  {0xd40, "Neoverse-V1"}, {0xd41, "Cortex-A78"},
    {0xd44, "Cortex-X1"},   {0xd46, "Cortex-A510"}, {0xd47, "Cortex-A710"}, {0xd48, "Cortex-X2"},
    {0xd49, "Neoverse-N2"}, {0xd4d, "Cortex-A715"}, {0xd4e, "Cortex-X3"},   {0xd4f, "Neoverse-V2"},
    {0xd80, "Cortex-A520"}, {0xd81, "Cortex-A720"}, {0xd82, "Cortex-X4"},   {0xd84, "Neoverse-V3"},
};

#define ARM_KINDS_MAX 4

/* What one pass over /proc/cpuinfo collects. */
struct cpuinfo {
    char name[SNUG_NAME_MAX];  /* "model name" and its relatives */
    char board[SNUG_NAME_MAX]; /* "Model", of small boards */
    const char *flags;         /* into the text; up to the end of its line */
    size_t n_flags;
    int n_processors;
    unsigned implementer;
    unsigned parts[ARM_KINDS_MAX]; /* in order of appearance */
    int n_of_part[ARM_KINDS_MAX];
    int n_parts;
};

static void take_arm_part(struct cpuinfo *info, unsigned part)
{
    for (int i = 0; i < info->n_parts; i++)
        if (info->parts[i] == part) {
            info->n_of_part[i]++;
            return;
        }
    if (info->n_parts < ARM_KINDS_MAX) {
        info->parts[info->n_parts] = part;
        info->n_of_part[info->n_parts++] = 1;
    }
}

/* One "key : value" line; value is not NUL-terminated. */
static void take_line(struct cpuinfo *info, const char *key, const char *value, size_t n)
{
    static const char *const names[] = {"model name", "Model Name", "uarch", "cpu"};
    static const char *const flags[] = {"flags", "Features", "isa"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (!info->name[0] && strcmp(key, names[i]) == 0)
            snug__copy_text(info->name, sizeof info->name, value, n);
    for (size_t i = 0; i < sizeof flags / sizeof flags[0]; i++)
        if (!info->flags && strcmp(key, flags[i]) == 0) {
            info->flags = value;
            info->n_flags = n;
        }
    if (strcmp(key, "processor") == 0)
        info->n_processors += info->n_processors < SNUG__PROBE_CPUS_MAX;
    else if (strcmp(key, "Model") == 0 && !info->board[0])
        snug__copy_text(info->board, sizeof info->board, value, n);
    else if (strcmp(key, "CPU implementer") == 0)
        info->implementer = (unsigned)strtoul(value, NULL, 16);
    else if (strcmp(key, "CPU part") == 0)
        take_arm_part(info, (unsigned)strtoul(value, NULL, 16));
}

static void parse_cpuinfo(const char *text, struct cpuinfo *info)
{
    memset(info, 0, sizeof *info);
    while (*text) {
        char key[32];
        const char *end = strchrnul(text, '\n');
        const char *colon = memchr(text, ':', (size_t)(end - text));
        if (colon) {
            snug__copy_text(key, sizeof key, text, (size_t)(colon - text));
            take_line(info, key, colon + 1, (size_t)(end - colon - 1));
        }
        text = *end ? end + 1 : end;
    }
}

static bool has_word(const char *text, size_t n, const char *word)
{
    size_t len = strlen(word);
    for (size_t i = 0; i + len <= n; i++) {
        bool starts = i == 0 || isspace((unsigned char)text[i - 1]);
        bool ends = i + len == n || isspace((unsigned char)text[i + len]);
        if (starts && ends && memcmp(text + i, word, len) == 0)
            return true;
    }
    return false;
}

static void append(char *out, size_t cap, const char *separator, const char *text)
{
    size_t n = strlen(out);
    snug__format(out + n, cap - n, "%s%s", n ? separator : "", text);
}

static void name_isa(const struct cpuinfo *info, char *out, size_t cap)
{
    for (size_t i = 0; info->flags && i < sizeof isa_table / sizeof isa_table[0]; i++)
        if (has_word(info->flags, info->n_flags, isa_table[i].flag))
            append(out, cap, " ", isa_table[i].name);
}

/* "4x Cortex-A76 + 4x Cortex-A55", or the bare name where all cores are alike. */
static void name_arm(const struct cpuinfo *info, char *out, size_t cap)
{
    for (int i = 0; i < info->n_parts; i++) {
        char part[64], text[80];
        snug__format(part, sizeof part, "Arm part %#x of %#x", info->parts[i], info->implementer);
        for (size_t k = 0; k < sizeof arm_parts / sizeof arm_parts[0]; k++)
            if (info->implementer == 0x41 && arm_parts[k].part == info->parts[i])
                snug__format(part, sizeof part, "%s", arm_parts[k].name);
        if (info->n_parts > 1)
            snug__format(text, sizeof text, "%dx %s", info->n_of_part[i], part);
        else
            snug__format(text, sizeof text, "%s", part);
        append(out, cap, " + ", text);
    }
}

void snug__source_cpuinfo(struct snug__probe *probe)
{
    struct snug_machine *machine = probe->machine;
    struct cpuinfo info;
    char *text = snug__read(probe->root, "/proc/cpuinfo", NULL);
    if (!text)
        return;
    parse_cpuinfo(text, &info);
    name_isa(&info, machine->isa, sizeof machine->isa);
    if (info.name[0])
        append(machine->cpu_name, sizeof machine->cpu_name, "", info.name);
    else
        name_arm(&info, machine->cpu_name, sizeof machine->cpu_name);
    if (info.board[0])
        append(machine->cpu_name, sizeof machine->cpu_name, ", ", info.board);
    /* Holds until the topology is read, and where there is none. */
    machine->n_threads = info.n_processors;
    machine->n_cores = info.n_processors;
    free(text);
}

/* The value of PRETTY_NAME in os-release, without its quotes. */
static void read_os_name(const struct snug__probe *probe, char *out, size_t cap)
{
    static const char *const paths[] = {"/etc/os-release", "/usr/lib/os-release"};
    for (size_t i = 0; i < sizeof paths / sizeof paths[0] && !out[0]; i++) {
        char *text = snug__read(probe->root, paths[i], NULL);
        const char *p = text ? strstr(text, "PRETTY_NAME=") : NULL;
        if (p && (p == text || p[-1] == '\n')) {
            p += strlen("PRETTY_NAME=");
            size_t n = strcspn(p, "\n");
            bool is_quoted = n >= 2 && (*p == '"' || *p == '\'') && p[n - 1] == *p;
            snug__copy_text(out, cap, p + is_quoted, n - 2 * is_quoted);
        }
        free(text);
    }
}

void snug__source_system(struct snug__probe *probe)
{
    struct snug_machine *machine = probe->machine;
    char release[64] = "", text[80];
    struct utsname host;
    char *file = snug__read(probe->root, "/proc/sys/kernel/osrelease", NULL);
    if (file)
        snug__copy_text(release, sizeof release, file, strlen(file));
    free(file);
    read_os_name(probe, machine->os, sizeof machine->os);
    snug__format(text, sizeof text, "Linux %s", release);
    if (release[0])
        append(machine->os, sizeof machine->os, ", ", text);

    /* This file is there since Linux 6.1. */
    file = snug__read(probe->root, "/proc/sys/kernel/arch", NULL);
    if (file)
        snug__copy_text(machine->arch, sizeof machine->arch, file, strlen(file));
    else if (probe->is_real && uname(&host) == 0)
        snug__copy_text(machine->arch, sizeof machine->arch, host.machine, strlen(host.machine));
    free(file);
}

void snug__source_ram(struct snug__probe *probe)
{
    static const char path[] = "/proc/meminfo";
    struct snug_machine *machine = probe->machine;
    struct snug_fact total = {0}, why = {0};
    const struct {
        const char *key;
        struct snug_fact *fact;
    } rows[] = {
        {"MemTotal:", &total},
        {"MemAvailable:", &machine->available_bytes},
        {"SwapTotal:", &machine->swap_total_bytes},
        {"SwapFree:", &machine->swap_free_bytes},
    };
    char *text = snug__read(probe->root, path, &why);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        double kib = 0;
        if (!text)
            *rows[i].fact = why;
        else if (snug__text_number(text, rows[i].key, &kib) && kib < 0x1p50)
            snug__fact_set(rows[i].fact, kib * 1024, path);
        else
            snug__fact_unknown(rows[i].fact, "%s: no line %s with a number of kB", path,
                               rows[i].key);
    }
    machine->ram_bytes = (uint64_t)total.value;
    free(text);
}

/* "some avg10=1.25 avg60=..." is the share of the last 10 s, in percent, in which some task waited.
 */
static void read_pressure(const struct snug__probe *probe, const char *path, struct snug_fact *fact)
{
    double percent = 0;
    char *text = snug__read(probe->root, path, fact);
    if (!text)
        return;
    if (snug__text_number(text, "some avg10=", &percent) && percent <= 100)
        snug__fact_set(fact, percent / 100, path);
    else
        snug__fact_unknown(fact, "%s: no \"some avg10=\" with a percentage", path);
    free(text);
}

void snug__source_load(struct snug__probe *probe)
{
    struct snug_machine *machine = probe->machine;
    snug__read_fact(probe->root, "/proc/loadavg", 1, &machine->load_average_1m);
    read_pressure(probe, "/proc/pressure/cpu", &machine->pressure_cpu_frac);
    read_pressure(probe, "/proc/pressure/memory", &machine->pressure_memory_frac);
    read_pressure(probe, "/proc/pressure/io", &machine->pressure_io_frac);
}
