/* Whether a tree of sysfs is fit for hwloc, which asserts (and so ends the process) on files whose
 * form the kernel would never write: an empty node list, a mask of letters. The lists are checked
 * on the real machine too, because containers replace parts of /sys; the files of each CPU only in
 * recorded trees, which anyone may have written. A file that is not there is fine. */
#include "machine/probe.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CPU "/sys/devices/system/cpu"
#define NODE "/sys/devices/system/node"
#define CACHES_PER_CPU_MAX 10 /* as many index folders as hwloc looks for */
#define NUMBER_DIGITS_MAX 9

enum form { FORM_LIST, FORM_MASK, FORM_ANY_MASK, FORM_NUMBER, FORM_SIZE, FORM_WORD };

struct row {
    const char *path;
    enum form form;
};

static const struct row list_table[] = {
    {CPU "/online", FORM_LIST},
    {CPU "/possible", FORM_LIST},
    {CPU "/present", FORM_LIST},
    {NODE "/online", FORM_LIST},
    {NODE "/possible", FORM_LIST},
    {"/sys/devices/cpu_core/cpus", FORM_LIST},
    {"/sys/devices/cpu_atom/cpus", FORM_LIST},
};

/* Below CPU "/cpuN". */
static const struct row cpu_table[] = {
    {"/online", FORM_NUMBER},
    {"/cpu_capacity", FORM_NUMBER},
    {"/topology/core_id", FORM_NUMBER},
    {"/topology/cluster_id", FORM_NUMBER},
    {"/topology/die_id", FORM_NUMBER},
    {"/topology/physical_package_id", FORM_NUMBER},
    {"/topology/core_cpus", FORM_MASK},
    {"/topology/cluster_cpus", FORM_MASK},
    {"/topology/die_cpus", FORM_MASK},
    {"/topology/package_cpus", FORM_MASK},
    {"/topology/thread_siblings", FORM_MASK},
    {"/topology/core_siblings", FORM_MASK},
    {"/cpufreq/cpuinfo_max_freq", FORM_NUMBER},
    {"/cpufreq/base_frequency", FORM_NUMBER},
    {"/acpi_cppc/nominal_freq", FORM_NUMBER},
};

/* Below CPU "/cpuN/cache/indexN". */
static const struct row cache_table[] = {
    {"/level", FORM_NUMBER},
    {"/size", FORM_SIZE},
    {"/type", FORM_WORD},
    {"/shared_cpu_map", FORM_MASK},
    {"/coherency_line_size", FORM_NUMBER},
    {"/number_of_sets", FORM_NUMBER},
    {"/physical_line_partition", FORM_NUMBER},
    {"/id", FORM_NUMBER},
};

/* Hexadecimal words split by commas; only a node of bare memory has no bit set. */
static bool is_mask(const char *text, size_t n, bool may_be_empty)
{
    bool has_bit = false;
    if (n > SNUG__PROBE_CPUS_MAX / 4 + SNUG__PROBE_CPUS_MAX / 32)
        return false;
    for (size_t i = 0; i < n; i++) {
        if (!isxdigit((unsigned char)text[i]) && text[i] != ',')
            return false;
        has_bit |= text[i] != '0' && text[i] != ',';
    }
    return n > 0 && (has_bit || may_be_empty);
}

/* Whether bit `cpu` is set; the lowest digit stands last, every comma after 8 digits. */
static bool mask_has(const char *text, size_t n, int cpu)
{
    size_t digit = (size_t)cpu / 4, back = digit + digit / 8 + 1;
    if (back > n)
        return false;
    char c = text[n - back];
    if (!isxdigit((unsigned char)c))
        return false;
    int value = c <= '9' ? c - '0' : (c | 32) - 'a' + 10;
    return value >> (cpu % 4) & 1;
}

/* Digits, with a sign for the -1 that stands for "none", and a unit for sizes. */
static bool is_number(const char *text, size_t n, bool has_unit)
{
    if (n > 0 && text[0] == '-' && !has_unit) {
        text++;
        n--;
    }
    if (n > 1 && has_unit && strchr("KMG", text[n - 1]))
        n--;
    for (size_t i = 0; i < n; i++)
        if (!isdigit((unsigned char)text[i]))
            return false;
    return n > 0 && n <= NUMBER_DIGITS_MAX;
}

static bool is_word(const char *text, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!isalpha((unsigned char)text[i]))
            return false;
    return n > 0;
}

static bool is_list(const char *text)
{
    hwloc_bitmap_t set = hwloc_bitmap_alloc();
    bool is_good = set && snug__cpu_list_parse(text, set);
    hwloc_bitmap_free(set);
    return is_good;
}

/* cpu: the one whose folder the file is in; its masks must contain it. -1: none */
static bool has_form(const char *text, enum form form, int cpu)
{
    size_t n = strlen(text);
    while (n > 0 && isspace((unsigned char)text[n - 1]))
        n--;
    switch (form) {
    case FORM_LIST:
        return is_list(text);
    case FORM_MASK:
        return is_mask(text, n, false) && mask_has(text, n, cpu);
    case FORM_ANY_MASK:
        return is_mask(text, n, true);
    case FORM_WORD:
        return is_word(text, n);
    default:
        return is_number(text, n, form == FORM_SIZE);
    }
}

static bool is_file_fit(const char *root, const char *path, enum form form, int cpu)
{
    struct snug_fact why = {0};
    char *text = snug__read(root, path, &why);
    bool is_fit = text ? has_form(text, form, cpu) : strstr(why.source, "no such file") != NULL;
    free(text);
    return is_fit;
}

static bool are_files_fit(const char *root, const char *folder, const struct row *rows, size_t n,
                          int cpu)
{
    for (size_t i = 0; i < n; i++) {
        char path[SNUG__PROBE_PATH_MAX];
        if (!snug__format(path, sizeof path, "%s%s", folder, rows[i].path) ||
            !is_file_fit(root, path, rows[i].form, cpu))
            return false;
    }
    return true;
}

static bool is_cpu_fit(const char *root, int cpu)
{
    char folder[128];
    char path[SNUG__PROBE_PATH_MAX];
    snug__format(folder, sizeof folder, CPU "/cpu%d", cpu);
    if (!snug__format(path, sizeof path, "%s%s/topology", root, folder) || access(path, R_OK) != 0)
        return false; /* listed as online, but not there */
    if (!are_files_fit(root, folder, cpu_table, sizeof cpu_table / sizeof cpu_table[0], cpu))
        return false;
    for (int i = 0; i < CACHES_PER_CPU_MAX; i++) {
        snug__format(folder, sizeof folder, CPU "/cpu%d/cache/index%d", cpu, i);
        if (!are_files_fit(root, folder, cache_table, sizeof cache_table / sizeof cache_table[0],
                           cpu))
            return false;
    }
    return true;
}

/* CPUs and nodes named by the lists that were found fit before. */
static bool are_members_fit(const char *root)
{
    bool is_fit = true;
    hwloc_bitmap_t set = hwloc_bitmap_alloc();
    char *text = snug__read(root, CPU "/online", NULL);
    if (!text)
        text = snug__read(root, CPU "/present", NULL);
    if (set && text && snug__cpu_list_parse(text, set))
        for (int cpu = hwloc_bitmap_first(set); cpu >= 0 && is_fit;
             cpu = hwloc_bitmap_next(set, cpu))
            is_fit = is_cpu_fit(root, cpu);
    free(text);
    if (set)
        hwloc_bitmap_zero(set);
    text = snug__read(root, NODE "/online", NULL);
    if (set && text && snug__cpu_list_parse(text, set))
        for (int node = hwloc_bitmap_first(set); node >= 0 && is_fit;
             node = hwloc_bitmap_next(set, node)) {
            char path[128];
            snug__format(path, sizeof path, NODE "/node%d/cpumap", node);
            is_fit = is_file_fit(root, path, FORM_ANY_MASK, -1);
        }
    free(text);
    hwloc_bitmap_free(set);
    return is_fit;
}

bool snug__sysfs_is_fit(const char *root, bool is_real)
{
    return are_files_fit(root, "", list_table, sizeof list_table / sizeof list_table[0], -1) &&
           (is_real || are_members_fit(root));
}
