/* A small recorded table for tests: text with its checksum put in. */
#ifndef SNUG_TEST_TABLE_H
#define SNUG_TEST_TABLE_H

#include "test.h"

#include "base/hash.h"
#include "engine/table.h"

/* Two knobs: threads (context) 1..3 and repack (load). Lines of cells 1 off, 2 off, 1 on. */
#define TABLE_HEAD                                                                                 \
    "\"snug_table\":1,\"name\":\"small\",\"space\":["                                              \
    "{\"name\":\"threads\",\"kind\":\"int\",\"min\":1,\"max\":3,\"step\":1,\"default\":1},"        \
    "{\"name\":\"repack\",\"kind\":\"bool\",\"when\":\"load\",\"default\":\"off\"}],"              \
    "\"workloads\":[{\"n_prompt\":64,\"n_gen\":16,\"n_ctx\":128},"                                 \
    "{\"n_prompt\":8,\"n_gen\":8,\"n_ctx\":128}],\"estimate_s\":0.5,"                              \
    "\"fit\":{\"threads\":2}"
#define TABLE_LINE(threads, repack, rep, decode)                                                   \
    "{\"config\":{\"threads\":" #threads ",\"repack\":\"" #repack "\"},\"rep\":" #rep              \
    ",\"outcome\":\"ok\",\"prefill_block_tps\":[100,110,120],\"decode_block_tps\":[" #decode       \
    "],\"bytes\":{\"weights\":1000,\"cache\":200,\"compute\":30,\"device\":7},"                    \
    "\"wall_s\":3,\"setup_s\":2}\n"
#define TABLE_BODY                                                                                 \
    TABLE_LINE(2, off, 0, 20)                                                                      \
    TABLE_LINE(1, off, 1, 11)                                                                      \
    TABLE_LINE(1, off, 0, 10)                                                                      \
    TABLE_LINE(1, off, 2, 12)                                                                      \
    "{\"config\":{\"threads\":1,\"repack\":\"on\"},\"rep\":0,\"outcome\":\"oom\","                 \
    "\"bytes\":{\"weights\":5000},\"wall_s\":0.25,\"setup_s\":2}\n"
#define TABLE_N_LINES 5

/* "{HEAD, n_lines, sha256}\nBODY": malloc'ed. */
static inline char *table_text(const char *head, const char *body, int n_lines)
{
    char hash[SNUG_SHA256_HEX_MAX], *text = NULL;
    if (asprintf(&text, "{%s,\"n_lines\":%d,\"sha256\":\"%s\"}\n%s", head, n_lines,
                 snug_sha256_hex(body, strlen(body), hash), body) < 0)
        abort();
    return text;
}

static inline snug_status table_parse(const char *head, const char *body, int n_lines,
                                      struct snug__table **out, struct snug_error *err)
{
    char *text = table_text(head, body, n_lines);
    const snug_status status = snug__table_parse("t.jsonl", text, strlen(text), out, err);
    free(text);
    return status;
}

static inline struct snug__table *table_small(void)
{
    struct snug__table *table = NULL;
    struct snug_error err;
    assert_ok(table_parse(TABLE_HEAD, TABLE_BODY, TABLE_N_LINES, &table, &err));
    return table;
}

#endif
