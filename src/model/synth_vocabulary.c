/* A vocabulary of any size from one rule, so that real tokenizers run on it as they do on real
 * ones.
 *
 *   pieces of 2 symbols   {space, e, t, a ...} x {e, t, a ...}      27 * 26
 *   pieces of 3           each of those x {e, t, a ...}             27 * 26^2
 *   pieces of 4           each of those x {e, t, a ...}             27 * 26^3, cut where n_vocab
 * ends
 *
 * Every piece is an earlier piece plus one letter, which is what makes it reachable by merging. The
 * last letter varies slowest and letters come by English frequency, so a cut keeps the common ones.
 * English text comes out at about 3 characters per token. Before the pieces stand the bytes (as
 * GPT-2 spells them, or as <0xNN>), after them the control tokens. */
#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "model/gguf_read.h"
#include "model/synth.h"

#define LETTERS "etaoinshrdlcumwfgypbvkjxqz"
#define N_LETTERS 26
#define N_FIRST (N_LETTERS + 1)                   /* the space or a letter */
#define N_PIECES_2 ((int64_t)N_FIRST * N_LETTERS) /* 702 */
#define N_PIECES_3 (N_PIECES_2 * N_LETTERS)       /* 18,252 */
#define N_PIECES_4 (N_PIECES_3 * N_LETTERS)       /* 474,552 */
#define PIECE_MAX 8 /* bytes: a space of up to 3, three letters, NUL */

#define SPM_SPACE "\xe2\x96\x81" /* U+2581, how SentencePiece spells a space */
#define BPE_SPACE "\xc4\xa0"     /* U+0120, how GPT-2 spells byte 32 */

enum token_type { NORMAL = 1, UNKNOWN = 2, CONTROL = 3, BYTE = 6 }; /* as in llama.h */

/* ChatML: each message between two control tokens. */
static const char chat_template[] =
    "{%- for m in messages -%}"
    "{{ '<|im_start|>' + m['role'] + '\\n' + m['content'] + '<|im_end|>' + '\\n' }}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{ '<|im_start|>assistant\\n' }}{%- endif -%}";

/* At the end of both kinds. libllama looks <|endoftext|> up in models named like Phi-3 and does not
 * load without it. */
static const char *const specials[] = {"<|endoftext|>", "<|im_start|>", "<|im_end|>"};
#define N_SPECIALS 3

/* Piece number i, and the length in bytes of the earlier piece that it extends. */
static size_t make_piece(int64_t i, const char *space, char out[PIECE_MAX], size_t *out_n_head)
{
    char letters[4];
    int n_letters = 0;
    if (i >= N_PIECES_2 + N_PIECES_3) {
        i -= N_PIECES_2 + N_PIECES_3;
        letters[n_letters++] = LETTERS[i / N_PIECES_3];
        i %= N_PIECES_3;
        letters[n_letters++] = LETTERS[i / N_PIECES_2];
        i %= N_PIECES_2;
    } else if (i >= N_PIECES_2) {
        i -= N_PIECES_2;
        letters[n_letters++] = LETTERS[i / N_PIECES_2];
        i %= N_PIECES_2;
    }
    letters[n_letters++] = LETTERS[i / N_FIRST];
    i %= N_FIRST;
    size_t n = 0;
    if (i == 0) {
        n = strlen(space);
        memcpy(out, space, n);
    } else {
        out[n++] = LETTERS[i - 1];
    }
    while (n_letters > 0)
        out[n++] = letters[--n_letters];
    *out_n_head = n - 1;
    return n;
}

static void put_pieces(struct snug__gguf_writer *w, int64_t n, const char *space)
{
    assert(n >= 0 && n <= N_PIECES_2 + N_PIECES_3 + N_PIECES_4);
    for (int64_t i = 0; i < n; i++) {
        char piece[PIECE_MAX];
        size_t n_head = 0, n_piece = make_piece(i, space, piece, &n_head);
        snug__gguf_item_string(w, piece, n_piece);
    }
}

static void put_specials(struct snug__gguf_writer *w)
{
    for (int i = 0; i < N_SPECIALS; i++)
        snug__gguf_item_string(w, specials[i], strlen(specials[i]));
}

/* The rules "HEAD LETTER" that make piece 0, 1, ..., in order of rank. */
static void put_merges(struct snug__gguf_writer *w, int64_t n)
{
    snug__gguf_begin_array(w, "tokenizer.ggml.merges", SNUG__GGUF_STRING, (uint64_t)n);
    for (int64_t i = 0; i < n; i++) {
        char piece[PIECE_MAX], merge[PIECE_MAX + 1];
        size_t n_head = 0, n_piece = make_piece(i, BPE_SPACE, piece, &n_head);
        memcpy(merge, piece, n_head);
        merge[n_head] = ' ';
        merge[n_head + 1] = piece[n_head];
        snug__gguf_item_string(w, merge, n_piece + 1);
    }
}

static void put_types(struct snug__gguf_writer *w, int64_t n_vocab, int n_bytes_at)
{
    snug__gguf_begin_array(w, "tokenizer.ggml.token_type", SNUG__GGUF_I32, (uint64_t)n_vocab);
    for (int64_t i = 0; i < n_vocab; i++) {
        enum token_type type = NORMAL;
        if (i >= n_vocab - N_SPECIALS)
            type = CONTROL;
        else if (n_bytes_at > 0 && i < n_bytes_at) /* SPM only: unknown, begin, end */
            type = i == 0 ? UNKNOWN : CONTROL;
        else if (n_bytes_at > 0 && i < n_bytes_at + 256)
            type = BYTE;
        snug__gguf_item_u32(w, (uint32_t)type);
    }
}

/* SentencePiece: 3 controls, 256 bytes, 94 printable characters, the space, pieces, chat tokens. */
static void put_spm(struct snug__gguf_writer *w, int64_t n_vocab)
{
    enum { N_CONTROLS = 3, N_CHARS = 95 };
    static const char *const controls[N_CONTROLS] = {"<unk>", "<s>", "</s>"};
    int64_t n_before = N_CONTROLS + 256 + N_CHARS;
    char text[8];
    snug__gguf_begin_array(w, "tokenizer.ggml.tokens", SNUG__GGUF_STRING, (uint64_t)n_vocab);
    for (int i = 0; i < N_CONTROLS; i++)
        snug__gguf_item_string(w, controls[i], strlen(controls[i]));
    for (int i = 0; i < 256; i++) {
        int n = snprintf(text, sizeof text, "<0x%02X>", (unsigned)i);
        snug__gguf_item_string(w, text, (size_t)n);
    }
    for (char c = '!'; c <= '~'; c++)
        snug__gguf_item_string(w, &c, 1);
    snug__gguf_item_string(w, SPM_SPACE, strlen(SPM_SPACE));
    put_pieces(w, n_vocab - n_before - N_SPECIALS, SPM_SPACE);
    put_specials(w);
    /* The higher score is merged first: earlier, that is shorter and more frequent, pieces. */
    snug__gguf_begin_array(w, "tokenizer.ggml.scores", SNUG__GGUF_F32, (uint64_t)n_vocab);
    for (int64_t i = 0; i < n_vocab; i++)
        snug__gguf_item_f32(w, i < n_before ? 0.0f : (float)(n_before - i));
    put_types(w, n_vocab, N_CONTROLS);
    snug__gguf_put_u32(w, "tokenizer.ggml.unknown_token_id", 0);
    snug__gguf_put_u32(w, "tokenizer.ggml.bos_token_id", 1);
    snug__gguf_put_u32(w, "tokenizer.ggml.eos_token_id", 2);
}

/* UTF-8 of the character by which GPT-2 spells a byte: printable ones stand for themselves, the
 * others for U+0100, U+0101, ... in order. */
static size_t spell_byte(int byte, int *n_unprintable, char out[2])
{
    bool is_plain = (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
    int code = is_plain ? byte : 256 + (*n_unprintable)++;
    if (code < 128) {
        out[0] = (char)code;
        return 1;
    }
    out[0] = (char)(0xc0 | code >> 6);
    out[1] = (char)(0x80 | (code & 0x3f));
    return 2;
}

/* Byte-pair encoding: 256 bytes, pieces, 3 controls. */
static void put_bpe(struct snug__gguf_writer *w, int64_t n_vocab, bool is_bos_added)
{
    int64_t n_pieces = n_vocab - 256 - N_SPECIALS;
    int n_unprintable = 0;
    snug__gguf_begin_array(w, "tokenizer.ggml.tokens", SNUG__GGUF_STRING, (uint64_t)n_vocab);
    for (int i = 0; i < 256; i++) {
        char text[2];
        size_t n = spell_byte(i, &n_unprintable, text);
        snug__gguf_item_string(w, text, n);
    }
    put_pieces(w, n_pieces, BPE_SPACE);
    put_specials(w);
    put_types(w, n_vocab, 0);
    put_merges(w, n_pieces);
    uint32_t id_end = (uint32_t)(n_vocab - N_SPECIALS);
    snug__gguf_put_u32(w, "tokenizer.ggml.bos_token_id", id_end);
    snug__gguf_put_u32(w, "tokenizer.ggml.eos_token_id", id_end);
    snug__gguf_put_bool(w, "tokenizer.ggml.add_bos_token", is_bos_added);
}

void snug__vocabulary_put(struct snug__gguf_writer *w, const struct snug__preset *preset)
{
    snug__gguf_put_string(w, "tokenizer.ggml.model", snug__preset_tokenizer(preset));
    snug__gguf_put_string(w, "tokenizer.ggml.pre", preset->pre);
    if (preset->tokenizer == SNUG__SPM)
        put_spm(w, preset->n_vocab);
    else
        put_bpe(w, preset->n_vocab, preset->arch == SNUG__ARCH_LLAMA);
    snug__gguf_put_u32(w, "tokenizer.ggml.eot_token_id", (uint32_t)(preset->n_vocab - 1));
    snug__gguf_put_string(w, "tokenizer.chat_template", chat_template);
}
