/* Runs a fuzz target without a fuzzer, as a test:
 *
 *   fuzz_NAME [-r ROUNDS] [-s SEED] PATH...
 *
 * Every file named, or lying below a folder named, goes through LLVMFuzzerTestOneInput: whole, then
 * its prefixes of halving length down to nothing, then ROUNDS mutations of it. The mutations of a
 * file depend on SEED and the file's bytes alone, so a finding comes back. An input that kills the
 * target, or takes it longer than INPUT_SECONDS_MAX, is kept as fuzz_NAME-crash in the current
 * folder: give that file to the same program to see it again, then move it to the corpus. */
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "snug/stats.h"

static const size_t INPUT_MAX = 64u << 20;
static const size_t MUTATED_MAX = 64u << 10; /* larger files keep their head: the parsed part */
static const unsigned INPUT_SECONDS_MAX = 60;
enum { EDITS_MAX = 4 }; /* mutations laid over one another in one round */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);
/* Of the sanitizers' runtime, where there is one: called before it ends the process. */
void __sanitizer_set_death_callback(void (*callback)(void)) __attribute__((weak));

static const uint8_t *current; /* the input that runs now, for keep_input */
static size_t n_current;
static char kept_path[256];
static long n_rounds;
static uint64_t seed = 1;
static size_t n_inputs;

/* ---- an input that kills ---- */

/* Only calls that a signal handler may make. */
static void keep_input(void)
{
    if (!current)
        return;
    const int fd = open(kept_path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    const ssize_t wrote = fd < 0 ? -1 : write(fd, current, n_current);
    const char *text = wrote == (ssize_t)n_current ? "fuzz: the input is kept in " : "fuzz: lost ";
    current = NULL;
    if (write(STDERR_FILENO, text, strlen(text)) < 0 ||
        write(STDERR_FILENO, kept_path, strlen(kept_path)) < 0 || write(STDERR_FILENO, "\n", 1) < 0)
        return;
}

static void on_signal(int number)
{
    keep_input();
    signal(number, SIG_DFL);
    raise(number);
}

static void watch(const char *program)
{
    const char *name = strrchr(program, '/');
    snprintf(kept_path, sizeof kept_path, "%s-crash", name ? name + 1 : program);
    if (__sanitizer_set_death_callback)
        __sanitizer_set_death_callback(keep_input);
    else
        signal(SIGSEGV, on_signal);
    signal(SIGABRT, on_signal);
    signal(SIGALRM, on_signal);
}

/* ---- inputs ---- */

/* From an exact block, so that a sanitizer sees a read past its end. */
static int run_input(const void *data, size_t n)
{
    uint8_t *input = malloc(n ? n : 1);
    if (!input)
        return -1;
    memcpy(input, data, n);
    current = input;
    n_current = n;
    alarm(INPUT_SECONDS_MAX);
    LLVMFuzzerTestOneInput(input, n);
    alarm(0);
    current = NULL;
    free(input);
    n_inputs++;
    return 0;
}

/* One edit of data[n], n > 0; returns the new length, at most n. Numbers that lengths and counts
 * are made of go in whole, where a bit flip would seldom make them. */
static size_t edit(uint8_t *data, size_t n, struct snug_rng *rng)
{
    static const uint64_t EXTREMES[] = {0,          1,          0x7f,
                                        0xff,       0x7fffffff, 0x80000000,
                                        0xffffffff, INT64_MAX,  (uint64_t)INT64_MAX + 1,
                                        UINT64_MAX};
    const size_t at = snug_rng_below(rng, n);
    const size_t left = n - at;
    const uint64_t extreme = EXTREMES[snug_rng_below(rng, sizeof EXTREMES / sizeof *EXTREMES)];
    const size_t width = (size_t)1 << snug_rng_below(rng, 4);
    switch (snug_rng_below(rng, 5)) {
    case 0:
        data[at] ^= (uint8_t)(1u << snug_rng_below(rng, 8));
        return n;
    case 1:
        data[at] = (uint8_t)snug_rng_next(rng);
        return n;
    case 2:
        memcpy(data + at, &extreme, left < width ? left : width);
        return n;
    case 3: /* repeat or move a piece within the file */
        memmove(data + at, data + snug_rng_below(rng, n - left + 1),
                left < 64 ? left : snug_rng_below(rng, 64));
        return n;
    default:
        return at;
    }
}

static int run_mutations(const char *data, size_t n)
{
    struct snug_rng rng;
    uint8_t *copy = malloc(n);
    int rc = copy ? 0 : -1;
    snug_rng_init(&rng, seed);
    for (long i = 0; i < n_rounds && rc == 0; i++) {
        size_t length = n;
        memcpy(copy, data, n);
        for (uint64_t k = snug_rng_below(&rng, EDITS_MAX) + 1; k > 0 && length > 0; k--)
            length = edit(copy, length, &rng);
        rc = run_input(copy, length);
    }
    free(copy);
    return rc;
}

static int run_file(const char *path, const struct stat *info, int kind, struct FTW *place)
{
    char *text = NULL;
    size_t n = 0;
    struct snug_error err;
    (void)info;
    (void)place;
    if (kind == FTW_D)
        return 0;
    if (snug_file_read(path, INPUT_MAX, &text, &n, &err) != SNUG_OK) {
        fprintf(stderr, "fuzz: %s\n", err.text);
        return -1;
    }
    fprintf(stderr, "fuzz: %s\n", path);
    int rc = run_input(text, n);
    for (size_t length = n; length > 0 && rc == 0; length /= 2)
        rc = run_input(text, length / 2);
    if (rc == 0 && n > 0 && n_rounds > 0)
        rc = run_mutations(text, n < MUTATED_MAX ? n : MUTATED_MAX);
    free(text);
    return rc;
}

int main(int argc, char **argv)
{
    for (int option; (option = getopt(argc, argv, "r:s:")) != -1;) {
        if (option == 'r')
            n_rounds = strtol(optarg, NULL, 10);
        else if (option == 's')
            seed = strtoull(optarg, NULL, 10);
        else
            return 2;
    }
    watch(argv[0]);
    for (int i = optind; i < argc; i++) {
        if (nftw(argv[i], run_file, 16, FTW_PHYS) != 0) {
            fprintf(stderr, "fuzz: %s cannot be run: %s\n", argv[i], strerror(errno));
            return 1;
        }
    }
    printf("%zu inputs\n", n_inputs);
    return n_inputs == 0; /* an empty corpus tests nothing */
}
