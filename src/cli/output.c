/* Talking to people: errors, notes, the live line, signals, nearest words. */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "cli/cli.h"

static bool is_quiet;
static bool is_live; /* a live line stands on the terminal */
volatile int cli_stop;

void cli_set_quiet(bool value)
{
    is_quiet = value;
}

bool cli_is_terminal(void)
{
    const char *term = getenv("TERM");
    return isatty(STDERR_FILENO) && !(term && strcmp(term, "dumb") == 0);
}

int cli_fail_text(enum cli_exit status, const char *format, ...)
{
    va_list args;
    cli_live_end();
    fputs("snug: error: ", stderr);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    return (int)status;
}

int cli_fail(const struct snug_error *err)
{
    const bool is_misuse = err->status == SNUG_BAD_INPUT || err->status == SNUG_NOT_FOUND;
    return cli_fail_text(is_misuse ? CLI_MISUSE : CLI_FAILED, "%s", err->text);
}

void cli_say(const char *format, ...)
{
    if (is_quiet)
        return;
    va_list args;
    cli_live_end();
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
}

int cli_put(const char *text)
{
    if (fputs(text, stdout) < 0 || fflush(stdout) != 0 || ferror(stdout))
        return cli_fail_text(CLI_FAILED, "cannot write the output: %s", strerror(errno));
    return CLI_OK;
}

int cli_put_buffer(const struct snug_buffer *out)
{
    return out->is_failed ? cli_fail_text(CLI_FAILED, "no memory for the output")
                          : cli_put(snug_buffer_text(out));
}

void cli_buffer_json(struct snug_buffer *out, char *json)
{
    snug_buffer_puts(out, json ? json : "");
    snug_buffer_puts(out, "\n");
    out->is_failed = out->is_failed || !json;
    free(json);
}

void cli_live(const char *format, ...)
{
    if (is_quiet || !cli_is_terminal())
        return;
    struct winsize size = {0};
    const int width =
        ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 20 ? size.ws_col - 1 : 79;
    char line[512];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    fprintf(stderr, "\r\033[K%.*s", width, line);
    fflush(stderr);
    is_live = true;
}

void cli_live_phase(const char *phase, void *data)
{
    cli_live("%s%s%s", data ? (const char *)data : "", data ? ": " : "", phase);
}

void cli_live_end(void)
{
    if (is_live)
        fputs("\r\033[K", stderr);
    is_live = false;
}

static void on_signal(int signal_number)
{
    if (cli_stop) {
        static const char text[] = "\nsnug: stopped at once\n";
        const ssize_t got = write(STDERR_FILENO, text, sizeof text - 1);
        (void)got;
        _exit(128 + signal_number);
    }
    cli_stop = 1;
}

void cli_catch_signals(void)
{
    struct sigaction action = {.sa_handler = on_signal};
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

/* Optimal string alignment: Levenshtein distance where two swapped neighbours count once. Words of
 * at most 31 characters. */
static int distance(const char *a, const char *b)
{
    const size_t n = strlen(a), m = strlen(b);
    int row[32], before[32] = {0}; /* of the last row, and of the one before it */
    if (n > 31 || m > 31)
        return 99;
    for (size_t j = 0; j <= m; j++)
        row[j] = (int)j;
    for (size_t i = 1; i <= n; i++) {
        int diagonal = row[0];
        int swapped = 0; /* before[j - 2] of two rows up */
        row[0] = (int)i;
        for (size_t j = 1; j <= m; j++) {
            const int above = row[j];
            const int change = diagonal + (a[i - 1] != b[j - 1]);
            const int step = (row[j - 1] < above ? row[j - 1] : above) + 1;
            row[j] = change < step ? change : step;
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
                swapped + 1 < row[j])
                row[j] = swapped + 1;
            swapped = before[j - 1];
            before[j - 1] = diagonal;
            diagonal = above;
        }
    }
    return row[m];
}

const char *cli_nearest(const char *text, const char *(*next)(int i))
{
    const char *best = NULL;
    int best_distance = strlen(text) > 4 ? 3 : 2; /* one typo in a short word, two in a long one */
    for (int i = 0; next(i); i++) {
        const int d = distance(text, next(i));
        if (d < best_distance) {
            best_distance = d;
            best = next(i);
        }
    }
    return best;
}
