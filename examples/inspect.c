/* Print what a GGUF file or a preset is: cc inspect.c $(pkg-config --cflags --libs snug) */
#include <inttypes.h>
#include <stdio.h>

#include <snug/model.h>
#include <snug/units.h>

int main(int argc, char **argv)
{
    struct snug_model model;
    struct snug_error err = {SNUG_OK};
    char bytes[SNUG_UNIT_TEXT_MAX];
    if (argc != 2) {
        fprintf(stderr, "usage: inspect MODEL.gguf\n");
        return 2;
    }
    if (snug_model_open(argv[1], &model, &err) != SNUG_OK) {
        fprintf(stderr, "inspect: %s\n", err.text);
        return 1;
    }
    printf("%s, %s: %" PRId64 " layers of width %" PRId64 ", %d tensors, %s\n", model.arch,
           model.file_type, model.n_layer, model.n_embd, model.n_tensors,
           snug_bytes_text(model.bytes_tensors, bytes));
    snug_model_clear(&model);
    return 0;
}
