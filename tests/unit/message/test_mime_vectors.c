/*
 * The structure of 70 messages as another parser found it (../shared/vectors/mime), with bare line feeds and with CRLF: kinds,
 * types, and where each part's header, body and end are. What departs is listed with the reason; nothing else may.
 */
#include "message/bodystructure.h"
#include "message/mime.h"
#include "vectors.h"

#include <stdio.h>

#define MAX_PARTS 256

struct expected {
    const char *kind;
    size_t header;
    size_t body;
    size_t end;
};

/* Messages whose structure is ours only, each with the reason. */
static const struct {
    const char *name;
    const char *reason;
} departures[] = {
    {"rfc/008", "a message/rfc822 in base64, which RFC 2046, section 5.2.1, forbids: its parts are no bytes "
                "of the message"},
    {"malformed/001",
     "the boundaries a and ab: they take ab for a, which leaves the b in the next part's header"},
    {"malformed/007",
     "a boundary line inside a header: they take it, though it only begins with the boundary that is open"},
    {"malformed/009",
     "they let an inner multipart swallow the outer one's next part; RFC 2046, section 5.1.2, ends it there"},
    {"malformed/011", "as 009"},
    {"malformed/019", "they cut one byte off a nested multipart that has no end"},
    {"malformed/021", "of two Content-Type fields they take the last, we the first"},
};

static const char *kind_of(const json_t *body)
{
    return json_is_string(body) ? json_string_value(body)
                                : json_object_iter_key(json_object_iter((json_t *)(uintptr_t)body));
}

static size_t number(const json_t *object, const char *key)
{
    return (size_t)json_integer_value(json_object_get(object, key));
}

/* Its parts are in the order of ours; those of a message inside stand in that part. The depth is the test data's. */
static size_t flatten(const json_t *message, struct expected *out, size_t count)
{
    size_t index;
    json_t *part;
    json_array_foreach(json_object_get(message, "parts"), index, part)
    {
        const json_t *body = json_object_get(part, "body");
        assert_true(count < MAX_PARTS);
        out[count++] = (struct expected){.kind = kind_of(body),
                                         .header = number(part, "offset_header"),
                                         .body = number(part, "offset_body"),
                                         .end = number(part, "offset_end")};
        if (json_is_object(json_object_get(body, "Message"))) {
            count = flatten(json_object_get(body, "Message"), out, count);
        }
    }
    return count;
}

static bool same_kind(const struct mime_part *part, const char *kind)
{
    struct str k = str_of(kind);
    return str_equal(k, STR("Multipart")) ? part->kind == MIME_MULTIPART
           : str_equal(k, STR("Message")) ? part->kind == MIME_MESSAGE
                                          : part->kind == MIME_LEAF || part->kind == MIME_TEXT;
}

static bool same_part(struct str message, const struct mime_part *part, const struct expected *expected)
{
    size_t header = (size_t)(part->header.data - message.data);
    size_t body = (size_t)(part->body.data - message.data);
    return same_kind(part, expected->kind) && header == expected->header && body == expected->body &&
           body + part->body.len == expected->end;
}

static void print_difference(const char *name, const struct mime *mime, const struct expected *expected,
                             size_t count)
{
    printf("%s: %u parts, expected %zu\n", name, mime->count, count);
    for (size_t i = 0; i < count || i < mime->count; i++) {
        if (i < mime->count) {
            const struct mime_part *part = &mime->parts[i];
            size_t body = (size_t)(part->body.data - mime->message.data);
            printf("   ours %d %.*s/%.*s %zu %zu %zu", part->kind, STR_ARGS(part->type),
                   STR_ARGS(part->subtype), (size_t)(part->header.data - mime->message.data), body,
                   body + part->body.len);
        }
        if (i < count) {
            printf("   theirs %s %zu %zu %zu", expected[i].kind, expected[i].header, expected[i].body,
                   expected[i].end);
        }
        printf("\n");
    }
}

/* True if the structure is the same. */
static bool compare(const char *name, struct str message, const json_t *json, bool print)
{
    struct mime mime = {.count = 0};
    struct expected expected[MAX_PARTS];
    size_t count = flatten(json, expected, 0);
    assert_true(mime_parse(&mime, message));
    bool same = mime.count == count;
    for (size_t i = 0; same && i < count; i++) {
        same = same_part(message, &mime.parts[i], &expected[i]);
    }
    if (!same && print) {
        print_difference(name, &mime, expected, count);
    }
    mime_free(&mime);
    return same;
}

static bool departs(const char *name)
{
    for (size_t i = 0; i < sizeof(departures) / sizeof(departures[0]); i++) {
        if (str_starts(str_of(name), str_of(departures[i].name))) {
            return true;
        }
    }
    return false;
}

static unsigned run_one(const char *name, struct str message, const char *json_name, unsigned *cases)
{
    json_t *json = vectors_json(json_name);
    if (json == NULL) {
        return 0;
    }
    (*cases)++;
    bool expected = !departs(name);
    bool same = compare(json_name, message, json, expected);
    json_decref(json);
    if (same != expected) {
        printf("%s %s\n", json_name, expected ? "differs" : "does not differ, but is listed");
    }
    return same != expected;
}

static void test_structure(void **state)
{
    static const char *const folders[] = {"rfc", "legacy", "malformed"};
    unsigned cases = 0;
    unsigned wrong = 0;
    for (size_t f = 0; f < 3; f++) {
        for (unsigned i = 0; i < 100; i++) {
            char name[64];
            char path[80];
            struct buf content;
            struct buf lf = buf_make((size_t)1 << 24);
            struct buf crlf = buf_make((size_t)1 << 24);
            (void)snprintf(name, sizeof(name), "%s/%03u", folders[f], i);
            (void)snprintf(path, sizeof(path), "mime/%s.eml", name);
            if (!vectors_read(path, &content)) {
                continue;
            }
            vectors_to_lf(buf_str(&content), &lf);
            vectors_to_crlf(buf_str(&content), &crlf);
            (void)snprintf(path, sizeof(path), "mime/%s.json", name);
            wrong += run_one(name, buf_str(&lf), path, &cases);
            (void)snprintf(path, sizeof(path), "mime/%s.crlf.json", name);
            wrong += run_one(name, buf_str(&crlf), path, &cases);
            buf_free(&content);
            buf_free(&lf);
            buf_free(&crlf);
        }
    }
    assert_int_equal(wrong, 0);
    assert_true(cases >= 140);
    (void)state;
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_structure)};
    vectors_begin(argc, argv);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
