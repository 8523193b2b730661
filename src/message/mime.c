/*
 * The structure of a message; see mime.h.
 *
 * One cursor goes over the message line by line. The boundaries of the multiparts that are open stand on a stack; a line
 * that is one of them closes every part inside and opens the next. No line is looked at twice.
 */
#include "message/mime.h"

#include "base/mem.h"
#include "message/header.h"
#include "message/mime_private.h"
#include "message/parameter.h"
#include "message/token.h"

struct open_multipart {
    uint64_t
        prefix; /* the boundary's first octets, and which bits of them count: most lines differ in these */
    uint64_t mask;
    uint32_t part;
    size_t offset; /* of its boundary in `names` */
    size_t len;
};

struct parser {
    struct mime *mime;
    struct str text;
    size_t at;
    uint64_t lines;   /* line ends before `at` */
    uint32_t current; /* the innermost part that is open */
    struct buf names;
    struct open_multipart open[MIME_DEPTH_MAX];
    unsigned open_count;
};

struct delimiter {
    unsigned index; /* of the open multipart */
    bool closes;
    size_t end; /* behind its line */
};

/* The line that begins at `at`, without its line end; *end is behind that. */
static struct str line_at(struct str text, size_t at, size_t *end)
{
    const char *newline = memchr(text.data + at, '\n', text.len - at);
    size_t stop = newline == NULL ? text.len : (size_t)(newline - text.data);
    *end = newline == NULL ? text.len : stop + 1;
    if (stop > at && newline != NULL && text.data[stop - 1] == '\r') {
        stop--;
    }
    return str_sub(text, at, stop);
}

/* Up to eight octets as a number, zeros behind them. */
static uint64_t first_octets(struct str text)
{
    uint64_t value = 0;
    memcpy(&value, text.data, text.len < sizeof(value) ? text.len : sizeof(value));
    return value;
}

/*
 * Whether the line at the cursor, which begins with "--", is the boundary line of an open multipart. RFC 2046, section
 * 5.1.1: the boundary must stand at its beginning. The longest counts, of equal ones the innermost, as boundaries begin
 * with one another in real mail. `whole` if nothing but blanks may follow: a header holds anything.
 */
static bool find_delimiter(struct parser *p, bool whole, struct delimiter *found)
{
    struct str line = str_from(line_at(p->text, p->at, &found->end), 2);
    while (line.len > 0 && (line.data[line.len - 1] == ' ' || line.data[line.len - 1] == '\t')) {
        line.len--;
    }
    size_t best = 0;
    uint64_t first = first_octets(line);
    for (unsigned i = p->open_count; i-- > 0;) {
        if (((first ^ p->open[i].prefix) & p->open[i].mask) != 0) {
            continue;
        }
        struct str name = str_make(p->names.data + p->open[i].offset, p->open[i].len);
        if (name.len > best && name.len <= line.len && memcmp(name.data, line.data, name.len) == 0) {
            best = name.len;
            found->index = i;
        }
    }
    if (best == 0) {
        return false;
    }
    struct str rest = str_from(line, best);
    found->closes = str_starts(rest, STR("--"));
    return !whole || rest.len == 0 || (found->closes && rest.len == 2);
}

static bool at_dashes(const struct parser *p)
{
    return p->open_count > 0 && p->text.len - p->at > 2 && p->text.data[p->at] == '-' &&
           p->text.data[p->at + 1] == '-';
}

/* Reads the header at the cursor and leaves the cursor at the body. */
static void read_header(struct parser *p, struct mime_part *part)
{
    size_t start = p->at;
    struct delimiter delimiter;
    while (p->at < p->text.len) {
        size_t end;
        size_t field = p->at;
        struct str line = line_at(p->text, p->at, &end);
        if (line.len == 0) {
            p->lines++;
            p->at = end;
            break;
        }
        if (at_dashes(p) && find_delimiter(p, true, &delimiter)) {
            break;
        }
        do {
            p->lines += p->text.data[end - 1] == '\n';
            p->at = end;
            if (end == p->text.len || (p->text.data[end] != ' ' && p->text.data[end] != '\t')) {
                break;
            }
            line_at(p->text, p->at, &end);
        } while (true);
        mime_content_field(part, str_sub(p->text, field, p->at));
    }
    part->header = str_sub(p->text, start, p->at);
}

static struct mime_part *add_part(struct mime *mime)
{
    if (mime->count == mime->capacity) {
        uint32_t capacity = mime->capacity == 0 ? 8 : mime->capacity * 2;
        struct mime_part *parts = mem_realloc(mime->parts, capacity * sizeof(*parts));
        if (parts == NULL) {
            return NULL;
        }
        mime->parts = parts;
        mime->capacity = capacity;
    }
    struct mime_part *part = &mime->parts[mime->count++];
    *part = (struct mime_part){.parent = MIME_NONE,
                               .first_child = MIME_NONE,
                               .last_child = MIME_NONE,
                               .next = MIME_NONE,
                               .number = 1,
                               .type = STR_EMPTY,
                               .parameters = STR_EMPTY,
                               .encoding_name = STR_EMPTY,
                               .id = STR_EMPTY,
                               .description = STR_EMPTY,
                               .disposition = STR_EMPTY,
                               .language = STR_EMPTY,
                               .location = STR_EMPTY,
                               .md5 = STR_EMPTY};
    return part;
}

static void link_part(struct mime *mime, uint32_t index, uint32_t parent_index)
{
    struct mime_part *part = &mime->parts[index];
    struct mime_part *parent = &mime->parts[parent_index];
    part->parent = parent_index;
    part->depth = parent->depth + 1;
    if (parent->last_child == MIME_NONE) {
        parent->first_child = index;
    } else {
        struct mime_part *before = &mime->parts[parent->last_child];
        before->next = index;
        part->number = before->number + 1;
    }
    parent->last_child = index;
}

/* The boundary parameter onto the stack; false without memory. A part without one is plain text. */
static bool push_boundary(struct parser *p, uint32_t index)
{
    struct mime_part *part = &p->mime->parts[index];
    struct parameter parameter;
    size_t at = 0;
    size_t before = p->names.len;
    unsigned count = 0;
    while (count++ < PARAMETER_MAX && parameter_next(part->parameters, &at, &parameter)) {
        /* A boundary in sections has not been seen anywhere. */
        if (str_equal_nocase(parameter.name, STR("boundary"))) {
            struct str value = str_sub(parameter.value, 0, (size_t)2 * MIME_BOUNDARY_MAX);
            if (!token_append_unquoted(value, &p->names)) {
                return false;
            }
            break;
        }
    }
    while (p->names.len > before && token_is_blank(p->names.data[p->names.len - 1])) {
        p->names.len--;
    }
    size_t len = p->names.len - before;
    if (len == 0 || len > MIME_BOUNDARY_MAX) {
        buf_truncate(&p->names, before);
        mime_content_set_plain(part);
        return true;
    }
    struct str name = str_make(p->names.data + before, len);
    p->open[p->open_count++] = (struct open_multipart){
        .prefix = first_octets(name),
        .mask = first_octets(str_sub(STR("\xff\xff\xff\xff\xff\xff\xff\xff"), 0, len)),
        .part = index,
        .offset = before,
        .len = len};
    return true;
}

static bool in_digest(const struct mime *mime, uint32_t parent)
{
    return parent != MIME_NONE && mime->parts[parent].kind == MIME_MULTIPART &&
           str_equal_nocase(mime->parts[parent].subtype, STR("digest"));
}

/* Opens the part at the cursor, and the message inside it if it is one, and so on. False without memory. */
static bool open_part(struct parser *p, uint32_t parent)
{
    struct mime *mime = p->mime;
    while (true) {
        struct mime_part *part = add_part(mime);
        if (part == NULL) {
            return false;
        }
        uint32_t index = mime->count - 1;
        if (parent != MIME_NONE) {
            link_part(mime, index, parent);
        }
        p->current = index;
        read_header(p, part);
        part->body = str_from(p->text, p->at); /* its length is known when it closes */
        part->body_lines = p->lines;
        mime_content_decide(part, in_digest(mime, parent));
        bool is_container = part->kind == MIME_MULTIPART || part->kind == MIME_MESSAGE;
        if (is_container && (part->depth + 1 >= MIME_DEPTH_MAX || mime->count >= MIME_PARTS_MAX)) {
            mime_content_set_opaque(part);
            mime->cut = true;
        }
        if (part->kind == MIME_MULTIPART) {
            return push_boundary(p, index);
        }
        if (part->kind != MIME_MESSAGE) {
            return true;
        }
        parent = index;
    }
}

/* Ends the parts from the innermost up to, but without, `container`: `end` and `lines` are where their bodies end. */
static void close_parts(struct parser *p, uint32_t container, size_t end, uint64_t lines)
{
    while (p->current != container) {
        struct mime_part *part = &p->mime->parts[p->current];
        size_t start = (size_t)(part->body.data - p->text.data);
        part->body = str_sub(p->text, start, end > start ? end : start);
        part->body_lines = end > start ? lines - part->body_lines : 0;
        if (part->kind == MIME_MULTIPART && part->first_child == MIME_NONE) {
            mime_content_set_plain(part);
        }
        p->current = part->parent;
    }
}

static void close_boundaries(struct parser *p, unsigned count)
{
    if (count < p->open_count) {
        buf_truncate(&p->names, p->open[count].offset);
        p->open_count = count;
    }
}

/* The line break before a boundary line belongs to that line. */
static void close_at_delimiter(struct parser *p, uint32_t container)
{
    size_t end = p->at;
    uint64_t lines = p->lines;
    if (end > 0 && p->text.data[end - 1] == '\n') {
        end--;
        lines--;
        if (end > 0 && p->text.data[end - 1] == '\r') {
            end--;
        }
    }
    close_parts(p, container, end, lines);
}

static bool take_delimiter(struct parser *p, const struct delimiter *found)
{
    struct mime *mime = p->mime;
    uint32_t container = p->open[found->index].part;
    bool closes = found->closes || found->end == p->text.len; /* a part with not one byte is none */
    if (!closes && mime->count >= MIME_PARTS_MAX) {
        mime->cut = true; /* the part that is open gets all that follows */
        if (mime->parts[p->current].first_child == MIME_NONE) {
            mime_content_set_opaque(&mime->parts[p->current]);
        }
        close_boundaries(p, 0);
        return true;
    }
    close_at_delimiter(p, container);
    p->lines += p->text.data[found->end - 1] == '\n';
    p->at = found->end;
    close_boundaries(p, found->index + !closes);
    return closes || open_part(p, container);
}

static bool read_bodies(struct parser *p)
{
    struct delimiter found;
    while (p->at < p->text.len && p->open_count > 0) {
        size_t start = p->at;
        if (at_dashes(p) && find_delimiter(p, false, &found)) {
            if (!take_delimiter(p, &found)) {
                return false;
            }
            if (p->at != start) {
                continue;
            }
        }
        const char *newline = memchr(p->text.data + p->at, '\n', p->text.len - p->at);
        if (newline == NULL) {
            p->at = p->text.len;
            break;
        }
        p->at = (size_t)(newline - p->text.data) + 1;
        p->lines++;
    }
    p->lines += str_count(str_from(p->text, p->at), '\n'); /* no boundary is waited for any more */
    return true;
}

bool mime_parse(struct mime *mime, struct str message)
{
    if (message.data == NULL) {
        message = STR_EMPTY;
    }
    mime->message = message;
    mime->count = 0;
    mime->cut = false;
    struct parser parser = {
        .mime = mime, .text = message, .names = buf_make((size_t)2 * MIME_DEPTH_MAX * MIME_BOUNDARY_MAX)};
    bool ok = open_part(&parser, MIME_NONE) && read_bodies(&parser);
    if (ok) {
        close_parts(&parser, MIME_NONE, message.len, parser.lines);
    }
    buf_free(&parser.names);
    return ok;
}

void mime_free(struct mime *mime)
{
    mem_free(mime->parts);
    *mime = (struct mime){.parts = NULL};
}

bool mime_field(const struct mime_part *part, struct str name, struct str *value)
{
    struct header_field field;
    if (!header_find(part->header, name, &field)) {
        return false;
    }
    *value = token_trim(field.value);
    return true;
}
