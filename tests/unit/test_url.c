/* What surrounds a fetch: which file of a repository is meant, whose token goes where, what is
 * kept, and the one header of several parts. The fetches themselves: tests/tools/url_test.py. */
#include "test.h"

#include <inttypes.h>

#include "base/http.h"
#include "gguf_build.h"
#include "model/shape_file.h"
#include "model/url.h"

/* ---- the hub's list ---- */

static const char list[] =
    "{\"siblings\": [{\"rfilename\": \"README.md\"}, {\"rfilename\": \"m-Q8_0.gguf\"},"
    "{\"rfilename\": \"m-Q4_K_S.gguf\"}, {\"rfilename\": \"m-q4_k_m.gguf\"},"
    "{\"rfilename\": \"mmproj-m-F16.gguf\"}, {\"rfilename\": \"BF16/m-BF16-00002-of-00002.gguf\"},"
    "{\"rfilename\": \"BF16/m-BF16-00001-of-00002.gguf\"}, {\"rfilename\": \"m-IQ4_XS.gguf\"}]}";

static void choose_finds_the_file_that_is_meant(void **state)
{
    (void)state;
    static const struct {
        const char *quant, *file;
    } rows[] = {
        {NULL, "m-q4_k_m.gguf"},     {"q8_0", "m-Q8_0.gguf"},
        {"Q4_K_S", "m-Q4_K_S.gguf"}, {"bf16", "BF16/m-BF16-00001-of-00002.gguf"},
        {"iq4", "m-IQ4_XS.gguf"},
    };
    struct snug_error err;
    char out[256];
    for (size_t i = 0; i < COUNT(rows); i++) {
        assert_ok(snug__hub_choose("hf:a/b", rows[i].quant, list, sizeof list - 1, out, sizeof out,
                                   &err));
        assert_string_equal(out, rows[i].file);
    }
    assert_fails(SNUG_NOT_FOUND,
                 snug__hub_choose("hf:a/b", "f16", list, sizeof list - 1, out, sizeof out, &err));
    assert_contains(err.text, "m-Q8_0.gguf");
    static const char other[] = "{\"siblings\": [{\"rfilename\": \"b.gguf\"}, {\"rfilename\": "
                                "\"a.gguf\"}, 7, {}]}";
    assert_ok(snug__hub_choose("hf:a/b", NULL, other, sizeof other - 1, out, sizeof out, &err));
    assert_string_equal(out, "a.gguf");
    static const char none[] = "{\"siblings\": [{\"rfilename\": \"model.safetensors\"}]}";
    assert_fails(SNUG_NOT_FOUND,
                 snug__hub_choose("hf:a/b", NULL, none, sizeof none - 1, out, sizeof out, &err));
    assert_contains(err.text, "no GGUF file");
    assert_fails(SNUG_BAD_INPUT, snug__hub_choose("hf:a/b", NULL, "{}", 2, out, sizeof out, &err));
    assert_fails(SNUG_BAD_INPUT, snug__hub_choose("hf:a/b", NULL, "<p>", 3, out, sizeof out, &err));
}

static void resolve_refuses_names_that_are_none(void **state)
{
    (void)state;
    static const char *const names[] = {"hf:",        "hf:a",     "hf:a/",       "hf:/b",
                                        "hf:a/b:",    "hf:a/b/c", "hf:../b",     "hf:a/..",
                                        "hf:a/b:c:d", "hf:a b/c", "hf:a/b:q4 k", "hf:a/b?c"};
    struct snug_error err;
    char out[SNUG__URL_MAX + 1], note[256] = "";
    for (size_t i = 0; i < COUNT(names); i++) {
        assert_fails(SNUG_BAD_INPUT, snug__hub_resolve(names[i], out, note, &err));
        assert_contains(err.text, "hf:USER/REPO");
    }
}

/* ---- the token ---- */

static void token_goes_to_the_hub_alone(void **state)
{
    (void)state;
    setenv("HF_TOKEN", "hf_abc", 1);
    unsetenv("HF_ENDPOINT");
    assert_string_equal(snug__url_token("https://huggingface.co/a/b/resolve/main/c.gguf"),
                        "hf_abc");
    assert_string_equal(snug__url_token("HTTPS://HuggingFace.co/a"), "hf_abc");
    assert_null(snug__url_token("http://huggingface.co/a"));
    assert_null(snug__url_token("https://huggingface.co.example.org/a"));
    assert_null(snug__url_token("https://huggingface.co:444/a"));
    assert_null(snug__url_token("https://huggingface.co@example.org/a"));
    setenv("HF_ENDPOINT", "http://127.0.0.1:8000/", 1);
    assert_null(snug__url_token("https://huggingface.co/a"));
    assert_string_equal(snug__url_token("http://127.0.0.1:8000/a"), "hf_abc");
    setenv("HF_TOKEN", "hf_abc\r\nX: y", 1);
    assert_null(snug__url_token("http://127.0.0.1:8000/a"));
    setenv("HF_TOKEN", "", 1);
    assert_null(snug__url_token("http://127.0.0.1:8000/a"));
    unsetenv("HF_TOKEN");
    unsetenv("HF_ENDPOINT");
}

/* ---- the cache ---- */

static void cache_gives_back_what_was_kept_and_nothing_else(void **state)
{
    struct snug_error err;
    struct snug__url_header header = {.size = 1000, .etag = "\"e\\1\""}, back = {0};
    const char *folder = test_path(state, "cache");
    setenv("XDG_CACHE_HOME", folder, 1);
    assert_fails(SNUG_NOT_FOUND, snug__url_cache_load("http://a/b", &back, &err));
    snug_buffer_append(&header.bytes, "GGUF\n\0x", 7);
    snug__url_cache_save("http://a/b", &header);
    assert_ok(snug__url_cache_load("http://a/b", &back, &err));
    assert_int_equal(back.size, 1000);
    assert_string_equal(back.etag, header.etag);
    assert_int_equal(back.bytes.len, 7);
    assert_memory_equal(back.bytes.data, "GGUF\n\0x", 7);
    snug_buffer_clear(&back.bytes);
    assert_fails(SNUG_NOT_FOUND, snug__url_cache_load("http://a/c", &back, &err));
    /* one that says less than it holds is as none */
    snug_buffer_append(&header.bytes, "more than size", 14);
    header.size = 3;
    snug__url_cache_save("http://a/b", &header);
    assert_fails(SNUG_NOT_FOUND, snug__url_cache_load("http://a/b", &back, &err));
    snug_buffer_clear(&header.bytes);
    unsetenv("XDG_CACHE_HOME");
}

/* ---- parts ---- */

static void build_part(struct snug__url_header *part, uint64_t no, uint64_t count, uint64_t said)
{
    struct snug_buffer *b = &part->bytes;
    build_head(b, 1, no == 0 ? 5 : 2);
    build_key_u32(b, "split.no", (uint32_t)no);
    if (no == 0) {
        build_arch(b);
        build_key_u32(b, "llama.block_count", 7);
        build_key_u32(b, "split.tensors.count", (uint32_t)said);
    }
    build_key_u32(b, "split.count", (uint32_t)count);
    build_tensor(b, no == 0 ? "one" : "two", 8, 1, 0, 0);
    build_data(b, 0);
    part->size = b->len + 32;
}

static void merge_parts_is_one_model(void **state)
{
    (void)state;
    struct snug_error err;
    struct snug__url_header parts[2] = {{.size = 0}}, out = {.size = 0};
    struct snug_model model;
    build_part(&parts[0], 0, 2, 2);
    build_part(&parts[1], 1, 2, 2);
    assert_ok(snug__url_merge("url", parts, 2, &out, &err));
    assert_int_equal(out.size, out.bytes.len + 64);
    assert_ok(snug__model_open_header("url", &out.bytes, out.size, &model, &err));
    assert_int_equal(model.n_layer, 7);
    assert_int_equal(model.n_tensors, 2);
    assert_string_equal(model.tensors[1].name, "two");
    assert_int_equal(model.tensors[1].offset, 32);
    assert_int_equal(model.n_header, out.bytes.len);
    snug_model_clear(&model);
    snug_buffer_clear(&out.bytes);
    /* in the wrong order, and with one part too few for what the first says */
    struct snug__url_header swapped[2] = {parts[1], parts[0]};
    assert_fails(SNUG_BAD_INPUT, snug__url_merge("url", swapped, 2, &out, &err));
    assert_contains(err.text, "part 1 of 2 says that it is part 2 of 2");
    snug_buffer_clear(&parts[0].bytes);
    build_part(&parts[0], 0, 2, 3);
    assert_fails(SNUG_BAD_INPUT, snug__url_merge("url", parts, 2, &out, &err));
    assert_contains(err.text, "split.tensors.count says 3");
    snug_buffer_clear(&parts[0].bytes);
    snug_buffer_clear(&parts[1].bytes);
}

/* ---- URLs ---- */

static void get_refuses_what_is_no_url(void **state)
{
    (void)state;
    static const char *const urls[] = {"ftp://a/b", "file:///etc/passwd", "http://a b/",
                                       "http:", "http://a/\r\nX: y"};
    struct snug_error err;
    struct snug_http_reply reply = {0};
    for (size_t i = 0; i < COUNT(urls); i++) {
        const struct snug_http_request request = {.url = urls[i], .cap = 1};
        assert_fails(SNUG_BAD_INPUT, snug_http_get(&request, &reply, &err));
    }
    char url[SNUG_HTTP_URL_MAX + 2];
    const struct snug_http_request request = {.url = url, .cap = 1};
    memset(url, 'a', sizeof url);
    memcpy(url, "http://127.0.0.1:1/", 19);
    url[SNUG_HTTP_URL_MAX] = '\0';
    setenv("no_proxy", "*", 1);
    assert_fails(SNUG_IO, snug_http_get(&request, &reply, &err)); /* nobody listens */
    assert_contains(err.text, "no connection");
    url[SNUG_HTTP_URL_MAX] = 'a';
    url[SNUG_HTTP_URL_MAX + 1] = '\0';
    assert_fails(SNUG_BAD_INPUT, snug_http_get(&request, &reply, &err));
    assert_contains(err.text, "4095");
    struct snug_model model;
    assert_fails(SNUG_BAD_INPUT, snug_model_open(url, &model, &err));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(choose_finds_the_file_that_is_meant),
        cmocka_unit_test(resolve_refuses_names_that_are_none),
        cmocka_unit_test(token_goes_to_the_hub_alone),
        cmocka_unit_test_setup_teardown(cache_gives_back_what_was_kept_and_nothing_else,
                                        test_folder_open, test_folder_close),
        cmocka_unit_test(merge_parts_is_one_model),
        cmocka_unit_test(get_refuses_what_is_no_url),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
