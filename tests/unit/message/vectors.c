/* Test material of others; see vectors.h. */
#include "vectors.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

static const char *folder;

void vectors_begin(int argc, char **argv)
{
    struct stat status;
    folder = argc > 1 ? argv[1] : "";
    if (stat(folder, &status) != 0) {
        printf("SKIPPED: the test vectors are not at %s\n", folder);
        exit(77);
    }
}

bool vectors_read(const char *name, struct buf *content)
{
    char path[512];
    (void)snprintf(path, sizeof(path), "%s/%s", folder, name);
    *content = buf_make((size_t)256 << 20);
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        return false;
    }
    char area[65536];
    size_t len;
    while ((len = fread(area, 1, sizeof(area), file)) > 0) {
        buf_append(content, area, len);
    }
    (void)fclose(file);
    return buf_ok(content);
}

json_t *vectors_json(const char *name)
{
    struct buf text;
    json_t *json = NULL;
    if (vectors_read(name, &text)) {
        json = json_loadb(text.data, text.len, JSON_ALLOW_NUL, NULL);
    }
    buf_free(&text);
    return json;
}

struct str vectors_string(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    return json_is_string(value) ? str_make(json_string_value(value), json_string_length(value)) : STR_EMPTY;
}

void vectors_assert_str(struct str actual, struct str expected, const char *file, int line)
{
    if (!str_equal(actual, expected)) {
        print_error("expected [%.*s]\n but got [%.*s]\n", STR_ARGS(expected), STR_ARGS(actual));
        _fail(file, line);
    }
}

void vectors_to_lf(struct str text, struct buf *out)
{
    for (size_t i = 0; i < text.len; i++) {
        if (text.data[i] != '\r') {
            buf_append_char(out, text.data[i]);
        }
    }
}

void vectors_to_crlf(struct str text, struct buf *out)
{
    for (size_t i = 0; i < text.len; i++) {
        if (text.data[i] == '\n' && (i == 0 || text.data[i - 1] != '\r')) {
            buf_append_char(out, '\r');
        }
        buf_append_char(out, text.data[i]);
    }
}
