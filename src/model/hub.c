/* "hf:USER/REPO[:QUANT]": which file of a repository is meant. The hub's list of files is asked for
 * each time; what it last gave stands in when there is no connection. */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/http.h"
#include "base/json.h"
#include "model/url.h"

#define ENDPOINT "https://huggingface.co"
#define QUANT_DEFAULT "Q4_K_M"
#define PART_MAX 96         /* bytes of a user's, repository's and quant's name */
#define FILES_MAX 16384     /* of a repository */
#define SHOWN_NAMES_MAX 260 /* bytes of a list of files in an error text */

const char *snug__hub_endpoint(char *out, size_t cap)
{
    const char *text = getenv("HF_ENDPOINT");
    size_t n = text ? strlen(text) : 0;
    while (n > 0 && text[n - 1] == '/')
        n--;
    bool is_url = n > 0 && n < cap && snug_http_is_url(text);
    snprintf(out, cap, "%.*s", is_url ? (int)n : (int)sizeof ENDPOINT, is_url ? text : ENDPOINT);
    return out;
}

/* ---- choosing a file ---- */

static bool ends_in_gguf(const char *name)
{
    size_t n = strlen(name);
    return n > 5 && strcasecmp(name + n - 5, ".gguf") == 0;
}

/* Does a word of the name begin with the text, in any case; is it the word when is_whole? Words are
 * of letters, digits and _, as types are: Q4_K begins Q4_K_M, F16 does not begin BF16. */
static bool holds(const char *name, const char *text, bool is_whole)
{
    size_t n = strlen(text);
    for (const char *at = name; *at; at++) {
        if (strncasecmp(at, text, n) != 0)
            continue;
        bool is_begin = at == name || !(isalnum((unsigned char)at[-1]) || at[-1] == '_');
        bool is_end = !(isalnum((unsigned char)at[n]) || at[n] == '_');
        if (is_begin && (!is_whole || is_end))
            return true;
    }
    return false;
}

/* Models: no vision projectors, no imatrix, and of a split one the first part. */
static bool is_model(const char *name)
{
    const char *of = strstr(name, "-of-");
    bool is_later_part =
        of && of - name > 6 && isdigit((unsigned char)of[-1]) && strncmp(of - 6, "-00001", 6) != 0;
    return ends_in_gguf(name) && !is_later_part && !holds(name, "mmproj", false) &&
           !holds(name, "imatrix", false);
}

static int compare_texts(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static void list_names(const char *const *names, size_t n, char *out, size_t cap)
{
    size_t at = 0;
    out[0] = '\0';
    for (size_t i = 0; i < n; i++) {
        size_t n_name = strlen(names[i]);
        if (at + n_name + 8 > cap) {
            snprintf(out + at, cap - at, " ...");
            return;
        }
        at += (size_t)snprintf(out + at, cap - at, "%s%s", at ? ", " : "", names[i]);
    }
}

static const char *choose(const char *const *names, size_t n, const char *quant)
{
    for (int is_whole = 1; is_whole >= 0; is_whole--) {
        for (size_t i = 0; i < n; i++) {
            if (holds(names[i], quant, is_whole))
                return names[i];
        }
    }
    return NULL;
}

/* Names of models among the siblings, sorted; at most cap. */
static size_t collect(const struct snug_json_node *siblings, const char **names, size_t cap)
{
    size_t n = 0;
    const struct snug_json_node **nodes = calloc(cap, sizeof *nodes);
    size_t n_nodes = nodes ? snug_json_elements(siblings, nodes, cap) : 0;
    for (size_t i = 0; i < n_nodes; i++) {
        const char *name = snug_json_get_string(nodes[i], "rfilename", "");
        if (is_model(name))
            names[n++] = name;
    }
    free(nodes);
    if (n > 0)
        qsort(names, n, sizeof *names, compare_texts);
    return n;
}

snug_status snug__hub_choose(const char *name, const char *quant, const char *json, size_t n_json,
                             char *out, size_t cap, struct snug_error *err)
{
    struct snug_json *doc = NULL;
    char list[SHOWN_NAMES_MAX];
    snug_status status = snug_json_parse(name, json, n_json, &doc, err);
    if (status != SNUG_OK)
        return status;
    const char **names = calloc(FILES_MAX, sizeof *names);
    const struct snug_json_node *siblings = snug_json_get(snug_json_root(doc), "siblings");
    if (!names) {
        status = snug_fail(err, SNUG_NO_MEMORY, "%.200s: files", name);
        goto done;
    }
    if (!snug_json_is_array(siblings)) {
        status = snug_fail(err, SNUG_BAD_INPUT,
                           "%.200s: the hub's answer has no list \"siblings\" of files", name);
        goto done;
    }
    size_t n = collect(siblings, names, FILES_MAX);
    const char *found = choose(names, n, quant ? quant : QUANT_DEFAULT);
    if (!found && !quant && n > 0)
        found = names[0];
    list_names(names, n, list, sizeof list);
    if (n == 0)
        status = snug_fail(err, SNUG_NOT_FOUND,
                           "%.200s: the repository has no GGUF file; name one that has, or "
                           "download this one and name its folder",
                           name);
    else if (!found)
        status = snug_fail(err, SNUG_NOT_FOUND, "%.120s: no GGUF file of %.40s; there are: %s",
                           name, quant, list);
    else if (strlen(found) >= cap)
        status = snug_fail(err, SNUG_BAD_INPUT, "%.200s: the file's name is too long", name);
    else
        snprintf(out, cap, "%s", found);
done:
    free(names);
    snug_json_free(doc);
    return status;
}

/* ---- asking the hub ---- */

/* Letters that names on the hub have; no "..", which would lead elsewhere. */
static bool is_name(const char *text, size_t n)
{
    if (n < 1 || n >= PART_MAX || text[0] == '.')
        return false;
    for (size_t i = 0; i < n; i++) {
        if (!isalnum((unsigned char)text[i]) && !strchr("-_.", text[i]))
            return false;
    }
    return true;
}

/* Cut hf:USER/REPO[:QUANT]; quant is "" where there is none. */
static snug_status cut(const char *name, char repo[2 * PART_MAX], char quant[PART_MAX],
                       struct snug_error *err)
{
    const char *user = name + 3, *slash = strchr(user, '/');
    const char *rest = slash ? slash + 1 : "";
    size_t n_user = slash ? (size_t)(slash - user) : 0, n_repo = strcspn(rest, ":");
    const char *last = rest + n_repo;
    if (*last == ':')
        last++;
    bool has_quant = last > rest + n_repo;
    if (!is_name(user, n_user) || !is_name(rest, n_repo) ||
        (has_quant && !is_name(last, strlen(last))))
        return snug_fail(err, SNUG_BAD_INPUT,
                         "'%.100s': hf:USER/REPO or hf:USER/REPO:QUANT is accepted, as in "
                         "hf:ggml-org/gemma-3-1b-it-GGUF:Q4_K_M",
                         name);
    snprintf(repo, 2 * PART_MAX, "%.*s/%.*s", (int)n_user, user, (int)n_repo, rest);
    snprintf(quant, PART_MAX, "%s", last);
    return SNUG_OK;
}

/* The path of a file in a URL: all but letters, digits and -._~/ as %XX. */
static void put_path(struct snug_buffer *out, const char *path)
{
    for (; *path; path++) {
        if (isalnum((unsigned char)*path) || strchr("-._~/", *path))
            snug_buffer_append(out, path, 1);
        else
            snug_buffer_printf(out, "%%%02X", (unsigned char)*path);
    }
}

static snug_status ask(const char *name, const char *endpoint, const char *repo, const char *quant,
                       char *out, size_t cap, struct snug_error *err)
{
    char url[SNUG__URL_MAX + 1], file[1024];
    struct snug_http_reply reply = {0};
    int n = snprintf(url, sizeof url, "%s/api/models/%s", endpoint, repo);
    if (n < 0 || (size_t)n >= sizeof url)
        return snug_fail(err, SNUG_BAD_INPUT, "HF_ENDPOINT is too long");
    const struct snug_http_request request = {
        .url = url, .bearer = snug__url_token(url), .cap = SNUG__HUB_LIST_MAX};
    snug_status status = snug_http_get(&request, &reply, err);
    if (status == SNUG_OK && reply.code != 200)
        status = snug__url_refused(url, reply.code, err);
    if (status == SNUG_OK)
        status = snug__hub_choose(name, quant[0] ? quant : NULL, snug_buffer_text(&reply.body),
                                  reply.body.len, file, sizeof file, err);
    snug_http_reply_clear(&reply);
    if (status != SNUG_OK)
        return status;
    struct snug_buffer full = {0};
    snug_buffer_printf(&full, "%s/%s/resolve/main/", endpoint, repo);
    put_path(&full, file);
    if (full.is_failed)
        status = snug_fail(err, SNUG_NO_MEMORY, "%.200s: URL", name);
    else if (full.len >= cap)
        status = snug_fail(err, SNUG_BAD_INPUT, "%.200s: the file's name is too long", name);
    else
        snprintf(out, cap, "%s", full.data);
    snug_buffer_clear(&full);
    return status;
}

snug_status snug__hub_resolve(const char *name, char *out, char *note, struct snug_error *err)
{
    const size_t cap = SNUG__URL_MAX + 1;
    char endpoint[SNUG__URL_MAX + 1], repo[2 * PART_MAX], quant[PART_MAX];
    char key[SNUG__URL_MAX + 3 * PART_MAX + 8];
    struct snug_error why = {0};
    snug_status status = cut(name, repo, quant, err);
    if (status != SNUG_OK)
        return status;
    snug__hub_endpoint(endpoint, sizeof endpoint);
    snprintf(key, sizeof key, "%s %s", endpoint, name); /* a blank: no URL is like it */
    status = ask(name, endpoint, repo, quant, out, cap, &why);
    struct snug__url_header kept = {0};
    if (status == SNUG_OK) {
        snug_buffer_puts(&kept.bytes, out);
        kept.size = kept.bytes.len;
        if (!kept.bytes.is_failed)
            snug__url_cache_save(key, &kept);
    } else if (snug__url_is_offline(status) && snug__url_cache_load(key, &kept, NULL) == SNUG_OK &&
               kept.bytes.len < cap) {
        snprintf(note, 256, "the address kept from an earlier call is used: %.200s", why.text);
        snprintf(out, cap, "%s", snug_buffer_text(&kept.bytes));
        status = SNUG_OK;
    }
    snug_buffer_clear(&kept.bytes);
    return status == SNUG_OK ? SNUG_OK : snug_fail(err, status, "%s", why.text);
}
