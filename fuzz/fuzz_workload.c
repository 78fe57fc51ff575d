/* Any bytes as a workload file, as .json and as .jsonl. What is accepted lies within its caps,
 * every text in it is UTF-8 and not empty, and the same bytes have the same hash; what is refused
 * says where. And as the file of prompts that a workload names, which alone is opened here. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "fuzz/check.h"
#include "base/json.h"
#include "trial/workload_file.h"

static void check_text(const char *text)
{
    check(text && text[0]);
    for (size_t i = 0; text[i];) {
        const size_t length = snug_utf8_length((const unsigned char *)text + i);
        check(length > 0);
        i += length;
    }
}

static void check_accepted(const struct snug_workload *w, const struct snug_workload_text *t)
{
    check_text(w->name);
    check(strlen(w->hash) == 64 && w->n_gen == t->n_gen);
    check(t->n_gen >= 0 && t->n_gen <= SNUG_WORKLOAD_GEN_MAX);
    check(t->workload_class < SNUG_N_WORKLOAD_CLASSES);
    check((t->n_prompts > 0) != (t->n_sessions > 0));
    check(t->n_prompts <= SNUG_WORKLOAD_PROMPTS_MAX && t->n_sessions <= SNUG_WORKLOAD_SESSIONS_MAX);
    for (int i = 0; i < t->n_prompts; i++)
        check_text(t->prompts[i]);
    for (int i = 0; i < t->n_sessions; i++) {
        check(t->sessions[i].n_turns > 0 && t->sessions[i].n_turns <= SNUG_WORKLOAD_TURNS_MAX);
        for (int k = 0; k < t->sessions[i].n_turns; k++) {
            check_text(t->sessions[i].turns[k].user);
            check_text(t->sessions[i].turns[k].assistant);
        }
    }
}

static void try_as(const char *text, size_t n, bool is_lines)
{
    const struct snug_workload_source source = {
        .name = "fuzz", .is_lines = is_lines, .text = text, .n = n};
    struct snug_workload w = {0}, again = {0};
    struct snug_workload_text t = {.n_prompts = 0}, u = {.n_prompts = 0};
    struct snug_error err = {0};
    if (snug_workload_file_parse(&source, &w, &t, &err) != SNUG_OK) {
        check(strncmp(err.text, "fuzz", 4) == 0 && !w.hash[0] && !t.arena.head);
        return;
    }
    check_accepted(&w, &t);
    check(snug_workload_file_parse(&source, &again, &u, NULL) == SNUG_OK);
    check(memcmp(&w, &again, sizeof w) == 0);
    snug_workload_text_clear(&t);
    snug_workload_text_clear(&u);
}

static void try_prompts(const uint8_t *data, size_t n)
{
    char json[128];
    const int fd = memfd_create("prompts", MFD_CLOEXEC);
    if (fd < 0)
        return;
    if (write(fd, data, n) == (ssize_t)n) {
        const int n_json = snprintf(json, sizeof json,
                                    "{\"name\":\"f\",\"class\":\"document\",\"file\":\"%d\"}", fd);
        const struct snug_workload_source source = {
            .name = "fuzz", .folder = "/proc/self/fd", .text = json, .n = (size_t)n_json};
        struct snug_workload w = {0};
        struct snug_workload_text t = {.n_prompts = 0};
        struct snug_error err = {0};
        if (snug_workload_file_parse(&source, &w, &t, &err) == SNUG_OK)
            check_accepted(&w, &t);
        else
            check(strstr(err.text, "/proc/self/fd/") && !t.arena.head);
        snug_workload_text_clear(&t);
    }
    close(fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    char *text = fuzz_text(data, n);
    if (!text)
        return 0;
    try_as(text, n, false);
    try_as(text, n, true);
    try_prompts(data, n);
    free(text);
    return 0;
}
