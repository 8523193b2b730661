/*
 * Any message: every slice is inside of it and where it belongs, each part is found again by its section number, the
 * structures are whole lists, the stored summary reads back as it was, and line ends make no difference.
 */
#include "message/bodystructure.h"
#include "message/section.h"
#include "message/summary.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool condition)
{
    if (!condition) {
        abort();
    }
}

static bool is_inside(struct str outer, struct str inner)
{
    return inner.data >= outer.data && inner.len <= outer.len &&
           (size_t)(inner.data - outer.data) <= outer.len - inner.len;
}

static uint64_t count_lines(struct str text)
{
    uint64_t lines = 0;
    for (size_t i = 0; i < text.len; i++) {
        lines += text.data[i] == '\n';
    }
    return lines;
}

static void check_part(const struct mime *mime, uint32_t index)
{
    const struct mime_part *part = &mime->parts[index];
    must(is_inside(mime->message, part->header) && is_inside(mime->message, part->body));
    must(part->header.data + part->header.len == part->body.data);
    must(part->body_lines == count_lines(part->body));
    must(part->type.len > 0 && part->subtype.len > 0);
    must(part->depth < MIME_DEPTH_MAX);
    must((part->first_child != MIME_NONE) == (part->kind == MIME_MULTIPART || part->kind == MIME_MESSAGE));
    must(part->kind != MIME_MESSAGE || part->first_child == part->last_child);
    if (index == 0) {
        must(part->parent == MIME_NONE && part->header.len + part->body.len == mime->message.len);
        return;
    }
    const struct mime_part *parent = &mime->parts[part->parent];
    must(part->parent < index && part->depth == parent->depth + 1);
    const char *parent_end = parent->body.data + parent->body.len;
    must(part->header.data >= parent->body.data);
    /* The empty line of a header without a body is also the line break before the boundary line. */
    must(is_inside(parent->body, part->body) || (part->body.len == 0 && part->body.data <= parent_end + 2));
    if (part->next != MIME_NONE) {
        const struct mime_part *next = &mime->parts[part->next];
        must(part->next > index && next->parent == part->parent && next->number == part->number + 1);
        must(next->header.data >= part->body.data + part->body.len);
    }
}

/* The numbers that lead to a part: those of the children of multiparts, and 1 for a message that is none. */
static bool path_of(const struct mime *mime, uint32_t index, struct section *section)
{
    uint32_t numbers[MIME_DEPTH_MAX];
    unsigned count = 0;
    for (uint32_t at = index; at != MIME_NONE; at = mime->parts[at].parent) {
        const struct mime_part *part = &mime->parts[at];
        bool is_root = part->parent == MIME_NONE || mime->parts[part->parent].kind == MIME_MESSAGE;
        if (!is_root) {
            numbers[count++] = part->number;
        } else if (part->kind != MIME_MULTIPART) {
            numbers[count++] = 1;
        } else if (at == index) {
            return false; /* the root of a message inside has no number of its own */
        }
    }
    *section = (struct section){.depth = count};
    for (unsigned i = 0; i < count; i++) {
        section->path[i] = numbers[count - 1 - i];
    }
    return true;
}

static void check_sections(const struct mime *mime)
{
    for (uint32_t i = 0; i < mime->count; i++) {
        struct section section;
        struct str found;
        if (path_of(mime, i, &section)) {
            must(section_find_part(mime, &section) == i);
            for (unsigned text = SECTION_ALL; text <= SECTION_MIME; text++) {
                section.text = (enum section_text)text;
                must(!section_find(mime, &section, &found) || is_inside(mime->message, found));
            }
        }
    }
}

static void check_summary(const struct mime *mime)
{
    struct buf out = buf_make(SUMMARY_MAX);
    struct summary summary;
    must(summary_encode(mime, STR_EMPTY, &out) && summary_decode(buf_str(&out), &summary));
    must(summary.size == mime->message.len);
    for (unsigned i = 0; i < SUMMARY_TEXT_COUNT; i++) {
        struct str text;
        bool ok = summary_text(&summary, (enum summary_text)i, &text);
        must(ok || !summary.has[i]);
    }
    for (uint32_t i = 0; i < summary.part_count; i++) {
        struct summary_part part;
        summary_part(&summary, i, &part);
        must(part.parent == mime->parts[i].parent && part.kind == mime->parts[i].kind);
        must(mime->message.data + part.body_at == mime->parts[i].body.data &&
             part.body_len == mime->parts[i].body.len);
    }
    buf_free(&out);
}

static void check_fields(const struct mime *mime)
{
    static const struct str names[] = {{.data = "subject", .len = 7}, {.data = "content-type", .len = 12}};
    struct buf with = buf_make(1 << 22);
    struct buf without = buf_make(1 << 22);
    struct str header = mime->parts[0].header;
    must(section_append_fields(header, names, 2, false, &with) &&
         section_append_fields(header, names, 2, true, &without));
    must(with.len + without.len <= header.len + 6 && with.len + without.len + 2 >= header.len);
    buf_free(&with);
    buf_free(&without);
}

static void check_same(const struct mime *a, const struct mime *b)
{
    must(a->count == b->count && a->cut == b->cut);
    for (uint32_t i = 0; i < a->count; i++) {
        const struct mime_part *x = &a->parts[i];
        const struct mime_part *y = &b->parts[i];
        must(x->kind == y->kind && x->encoding == y->encoding && x->parent == y->parent &&
             x->next == y->next);
        must(str_equal(x->type, y->type) && str_equal(x->subtype, y->subtype) &&
             x->body_lines == y->body_lines);
    }
}

static void check_line_ends(struct str text)
{
    struct buf lf = buf_make(1 << 22);
    struct buf crlf = buf_make(1 << 22);
    struct mime a = {.count = 0};
    struct mime b = {.count = 0};
    for (size_t i = 0; i < text.len; i++) {
        if (text.data[i] == '\n') {
            buf_append_char(&crlf, '\r');
        }
        if (text.data[i] != '\r') {
            buf_append_char(&crlf, text.data[i]);
            buf_append_char(&lf, text.data[i]);
        }
    }
    must(mime_parse(&a, buf_str(&lf)) && mime_parse(&b, buf_str(&crlf)));
    check_same(&a, &b);
    mime_free(&a);
    mime_free(&b);
    buf_free(&lf);
    buf_free(&crlf);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct mime mime = {.count = 0};
    struct mime again = {.count = 0};
    must(mime_parse(&mime, str_make(data, size)));
    for (uint32_t i = 0; i < mime.count; i++) {
        check_part(&mime, i);
    }
    check_sections(&mime);
    check_summary(&mime);
    check_fields(&mime);
    must(mime_parse(&again, STR("Content-Type: multipart/x; boundary=a\n\n--a\n\nx")) &&
         mime_parse(&again, mime.message));
    check_same(&mime, &again);
    check_line_ends(mime.message);
    mime_free(&mime);
    mime_free(&again);
    return 0;
}
