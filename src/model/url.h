/* Models by URL: headers of GGUF files on HTTP servers; private to the room.
 *
 *   hf:USER/REPO[:QUANT] --(the hub's list of files)--> URL
 *   URL --(range requests, or the cache)--> header of each part --> one header --> the reader */
#ifndef SNUG_MODEL_URL_H
#define SNUG_MODEL_URL_H

#include "base/buffer.h"
#include "snug/model.h"

#define SNUG__URL_MAX 4095 /* bytes; as model->path holds */
#define SNUG__URL_HEADER_MAX                                                                       \
    (64u << 20) /* bytes fetched of one file; the largest vocabularies take                        \
                   some 20 MB */
#define SNUG__URL_PIECE_BYTES (256u << 10) /* of the first request; each further one doubles */
#define SNUG__HUB_LIST_MAX (8u << 20)      /* bytes of the hub's answer */

/* "http://", "https://" or "hf:". */
bool snug__url_is(const char *path);
snug_status snug__url_open(const char *path, struct snug_model *out,
                           struct snug_error *err) SNUG_CHECKED;

/* ---- parts of it ---- */

/* The header of one GGUF file and the size that the server states. */
struct snug__url_header {
    struct snug_buffer bytes; /* up to the data, padded */
    uint64_t size;
    char etag[256];
    char note[256]; /* "" or why it is the one kept */
};

/* From the server, or from the cache when the server says that it is still that; also when there is
 * no connection (out->note says so). */
snug_status snug__url_header(const char *url, struct snug__url_header *out,
                             struct snug_error *err) SNUG_CHECKED;
/* $HF_TOKEN when the URL is on the hub, else NULL. */
const char *snug__url_token(const char *url);
/* One line about a status code that is not what was asked for. */
snug_status snug__url_refused(const char *url, long code, struct snug_error *err);
/* Is the error one of the network's, so that what was kept may stand in? */
bool snug__url_is_offline(snug_status status);

/* What is kept between runs, below the user's cache folder; key: URL or hf: name. load gives
 * SNUG_NOT_FOUND for what is not there or not sound; saving that fails is only logged. */
snug_status snug__url_cache_load(const char *key, struct snug__url_header *out,
                                 struct snug_error *err) SNUG_CHECKED;
void snug__url_cache_save(const char *key, const struct snug__url_header *header);

/* https://huggingface.co, or $HF_ENDPOINT, without a slash at the end. */
const char *snug__hub_endpoint(char *out, size_t cap);
/* "hf:USER/REPO[:QUANT]" to the URL of a file. out: SNUG__URL_MAX + 1 bytes. note, 256 bytes, is
 * set as in a header. */
snug_status snug__hub_resolve(const char *name, char *out, char *note,
                              struct snug_error *err) SNUG_CHECKED;
/* The same, given the hub's answer: the path of the file in the repository. quant NULL: Q4_K_M, or
 * the first. Borrows from nothing. */
snug_status snug__hub_choose(const char *name, const char *quant, const char *json, size_t n,
                             char *out, size_t cap, struct snug_error *err) SNUG_CHECKED;

/* One header of all parts of a split model, parts[0 .. n_parts): the keys of the first without
 * split.*, all tensors, the data of one part behind that of another. */
snug_status snug__url_merge(const char *label, const struct snug__url_header *parts, int n_parts,
                            struct snug__url_header *out, struct snug_error *err) SNUG_CHECKED;

#endif
