/* `explain`: reply codes and enhanced status codes in plain words, from the table of message/codes.h. */
#include "cli/output.h"
#include "cli/run.h"
#include "message/codes.h"

#include <stdio.h>
#include <sysexits.h>

enum { WIDTH = 96, TEXT_MAX = 1 << 20 };

static void row_code(const struct codes_words *words, char out[16])
{
    if (words->reply != 0) {
        snprintf(out, 16, "%u", (unsigned)words->reply);
    } else {
        snprintf(out, 16, "X.%u.%u", (unsigned)words->subject, (unsigned)words->detail);
    }
}

static json_t *words_object(const struct codes_words *words)
{
    char code[16];
    row_code(words, code);
    return json_pack("{s:s,s:s,s:s,s:s,s:s,s:s}", "code", code, "title", words->title, "side",
                     codes_side_words((enum codes_side)words->side), "what", words->what, "action",
                     words->action, "standard", words->standard);
}

static int print_all(const struct cli_input *input)
{
    size_t count;
    const struct codes_words *table = codes_table(&count);
    for (size_t i = 0; i < count; i++) {
        char code[16];
        row_code(&table[i], code);
        if (input->json) {
            json_t *object = words_object(&table[i]);
            cli_print_json(object);
            json_decref(object);
        } else {
            printf("%-8s %s\n", code, table[i].title);
        }
    }
    return EX_OK;
}

static void print_words(const struct codes_found *found)
{
    struct buf words = buf_make(16384);
    char enhanced[32] = "";
    if (found->has_enhanced) {
        snprintf(enhanced, sizeof(enhanced), "%u.%u.%u", found->class, found->subject, found->detail);
    }
    const struct codes_words *best = codes_best(found);
    if (found->reply != 0) {
        printf("%u%s%s", found->reply, enhanced[0] == '\0' ? "" : " ", enhanced);
    } else {
        printf("%s", enhanced);
    }
    printf("%s%s\n\n", best == NULL ? "" : ": ", best == NULL ? "" : best->title);
    if (codes_append_words(found, &words) && buf_append_char(&words, '\0')) {
        cli_print_folded(words.data, 2, WIDTH);
    }
    if (best != NULL) {
        printf("\n  (%s)\n", best->standard);
    }
    buf_free(&words);
}

static void print_found(const struct codes_found *found)
{
    json_t *object = json_object();
    struct buf words = buf_make(16384);
    const struct codes_words *best = codes_best(found);
    if (found->reply != 0) {
        json_object_set_new(object, "reply", json_integer(found->reply));
    }
    if (found->has_enhanced) {
        json_object_set_new(object, "enhanced",
                            json_sprintf("%u.%u.%u", found->class, found->subject, found->detail));
    }
    json_object_set_new(object, "permanent", json_boolean(found->class == 5));
    if (codes_append_words(found, &words)) {
        json_object_set_new(object, "words", json_stringn(words.data, words.len));
    }
    if (best != NULL) {
        json_t *more = words_object(best);
        json_object_del(more, "code");
        json_object_update(object, more);
        json_decref(more);
    }
    cli_print_json(object);
    json_decref(object);
    buf_free(&words);
}

static void read_input(struct buf *text)
{
    char chunk[8192];
    size_t n;
    while (buf_ok(text) && (n = fread(chunk, 1, sizeof(chunk), stdin)) > 0) {
        buf_append(text, chunk, n);
    }
    text->failed = false; /* the beginning of something very long will do */
}

int cli_explain(const struct cli_input *input)
{
    if (input->argument_count == 0) {
        return print_all(input);
    }
    struct buf text = buf_make(TEXT_MAX);
    struct codes_found found;
    if (input->argument_count == 1 && strcmp(input->arguments[0], "-") == 0) {
        read_input(&text);
    } else {
        for (size_t i = 0; i < input->argument_count; i++) {
            buf_append_str(&text, str_of(i > 0 ? " " : ""));
            buf_append_str(&text, str_of(input->arguments[i]));
        }
    }
    int code = EX_OK;
    if (!codes_find(buf_str(&text), &found)) {
        code =
            cli_fail(input, EX_DATAERR,
                     "give a reply such as 550, a code such as 5.1.1, or the text that holds one; `veredus "
                     "explain` alone lists all",
                     "there is no reply code or enhanced status code in that");
    } else if (input->json) {
        print_found(&found);
    } else {
        print_words(&found);
    }
    buf_free(&text);
    return code;
}
