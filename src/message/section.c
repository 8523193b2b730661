/* Sections of a message; see section.h. */
#include "message/section.h"

#include "message/header.h"

static bool parse_text(struct str word, bool has_path, enum section_text *text)
{
    static const struct {
        const char *name;
        enum section_text text;
    } words[] = {
        {"HEADER", SECTION_HEADER},
        {"HEADER.FIELDS", SECTION_HEADER_FIELDS},
        {"HEADER.FIELDS.NOT", SECTION_HEADER_FIELDS_NOT},
        {"TEXT", SECTION_BODY_TEXT},
        {"MIME", SECTION_MIME},
    };
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        if (str_equal_nocase(word, str_of(words[i].name))) {
            *text = words[i].text;
            return *text != SECTION_MIME || has_path;
        }
    }
    return false;
}

bool section_parse(struct str text, struct section *section)
{
    *section = (struct section){.text = SECTION_ALL};
    while (text.len > 0 && ascii_is_digit(text.data[0])) {
        size_t dot = str_find(text, 0, '.');
        struct str digits = str_sub(text, 0, dot == SIZE_MAX ? text.len : dot);
        uint64_t number;
        if (section->depth == MIME_DEPTH_MAX || digits.data[0] == '0' || digits.len > 10 ||
            !str_to_u64(digits, UINT32_MAX - 1, &number)) {
            return false;
        }
        section->path[section->depth++] = (uint32_t)number;
        if (dot == SIZE_MAX) {
            return true;
        }
        text = str_from(text, dot + 1);
        if (text.len == 0) {
            return false;
        }
    }
    return (text.len == 0 && section->depth == 0) || parse_text(text, section->depth > 0, &section->text);
}

/* The number-th part of what `index` holds: of a multipart, or of the message inside. */
static uint32_t child_of(const struct mime *mime, uint32_t index, uint32_t number, bool at_root)
{
    const struct mime_part *part = &mime->parts[index];
    if (!at_root && part->kind == MIME_MESSAGE) {
        index = part->first_child;
        part = &mime->parts[index];
        at_root = true;
    }
    if (part->kind != MIME_MULTIPART) {
        return at_root && number == 1 ? index : MIME_NONE; /* a message that is no multipart has a part 1 */
    }
    uint32_t child = part->first_child;
    while (child != MIME_NONE && mime->parts[child].number != number) {
        child = mime->parts[child].next;
    }
    return child;
}

uint32_t section_find_part(const struct mime *mime, const struct section *section)
{
    uint32_t index = 0;
    for (unsigned i = 0; i < section->depth && index != MIME_NONE; i++) {
        index = child_of(mime, index, section->path[i], i == 0);
    }
    return index;
}

bool section_find(const struct mime *mime, const struct section *section, struct str *found)
{
    uint32_t index = section_find_part(mime, section);
    if (index == MIME_NONE) {
        return false;
    }
    const struct mime_part *part = &mime->parts[index];
    if (section->depth == 0 && section->text == SECTION_ALL) {
        *found = mime->message;
        return true;
    }
    if (section->text == SECTION_ALL) {
        *found = part->body;
        return true;
    }
    if (section->text == SECTION_MIME) {
        *found = part->header;
        return true;
    }
    if (section->depth > 0) { /* the header and text of the message that the part holds */
        if (part->kind != MIME_MESSAGE) {
            return false;
        }
        part = &mime->parts[part->first_child];
    }
    *found = section->text == SECTION_BODY_TEXT ? part->body : part->header;
    return true;
}

/* Names are compared by a hash first: the cost must not be fields times names times length. */
static uint32_t name_hash(struct str name)
{
    uint32_t hash = (uint32_t)name.len * 0x9e3779b1U;
    for (size_t i = 0; i < name.len; i++) {
        hash = (hash ^ (unsigned char)ascii_lower(name.data[i])) * 0x01000193U;
    }
    return hash;
}

enum { NAMES_MAX = 64 };

static bool is_among(struct str name, const struct str *names, const uint32_t *hashes, size_t count)
{
    uint32_t hash = name_hash(name);
    for (size_t i = 0; i < count; i++) {
        if ((i >= NAMES_MAX || hashes[i] == hash) && str_equal_nocase(name, names[i])) {
            return true;
        }
    }
    return false;
}

bool section_append_fields(struct str header, const struct str *names, size_t count, bool inverted,
                           struct buf *out)
{
    uint32_t hashes[NAMES_MAX];
    struct header_iterator iterator = {.message = header};
    struct header_field field;
    for (size_t i = 0; i < count && i < NAMES_MAX; i++) {
        hashes[i] = name_hash(names[i]);
    }
    while (header_next(&iterator, &field)) {
        bool wanted = field.name.len > 0 && is_among(field.name, names, hashes, count);
        if (wanted != inverted) {
            buf_append_str(out, field.whole);
            if (field.whole.data[field.whole.len - 1] != '\n') {
                buf_append_lit(out, "\r\n");
            }
        }
    }
    return buf_append_lit(out, "\r\n");
}

bool section_find_binary(const struct mime *mime, const struct section *section, struct str *body,
                         enum transfer_encoding *encoding)
{
    uint32_t index = section_find_part(mime, section);
    if (index == MIME_NONE || section->text != SECTION_ALL) {
        return false;
    }
    const struct mime_part *part = &mime->parts[index];
    *body = section->depth == 0 ? mime->message : part->body;
    bool decodes = section->depth > 0 && part->kind != MIME_MULTIPART && part->kind != MIME_MESSAGE;
    *encoding = decodes ? part->encoding : TRANSFER_8BIT;
    return true;
}
