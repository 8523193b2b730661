/* Reading a summary, which may be anything; see summary.h. */
#include "message/summary_private.h"

static uint64_t read_le(const char *data, unsigned width)
{
    uint64_t value = 0;
    for (unsigned i = 0; i < width; i++) {
        value |= (uint64_t)(unsigned char)data[i] << (8 * i);
    }
    return value;
}

void summary_part(const struct summary *summary, uint32_t index, struct summary_part *part)
{
    const char *data = summary->parts.data + (size_t)index * SUMMARY_PART_SIZE;
    uint64_t parent = read_le(data + 2, 2);
    *part = (struct summary_part){.kind = (enum mime_kind)data[0],
                                  .encoding = (enum transfer_encoding)data[1],
                                  .parent = parent == SUMMARY_NO_PARENT ? MIME_NONE : (uint32_t)parent,
                                  .number = (uint32_t)read_le(data + 4, 4),
                                  .header_at = read_le(data + 8, 8),
                                  .header_len = read_le(data + 16, 8),
                                  .body_at = read_le(data + 24, 8),
                                  .body_len = read_le(data + 32, 8)};
}

static bool is_inside(uint64_t at, uint64_t len, uint64_t size)
{
    return at <= size && len <= size - at;
}

static bool check_part(const struct summary *summary, uint32_t index)
{
    struct summary_part part;
    summary_part(summary, index, &part);
    bool parent_ok = index == 0 ? part.parent == MIME_NONE : part.parent < index;
    return parent_ok && part.kind <= MIME_MESSAGE && part.encoding <= TRANSFER_UNKNOWN && part.number > 0 &&
           is_inside(part.header_at, part.header_len, summary->size) &&
           is_inside(part.body_at, part.body_len, summary->size);
}

bool summary_decode(struct str encoded, struct summary *summary)
{
    if (encoded.len < SUMMARY_HEAD_SIZE || encoded.len > SUMMARY_MAX || encoded.data[0] != SUMMARY_VERSION) {
        return false;
    }
    const char *data = encoded.data;
    uint64_t present = read_le(data + 2, 2);
    unsigned flags = (unsigned char)data[1];
    *summary = (struct summary){.size = read_le(data + 4, 8),
                                .has_date = (flags & SUMMARY_FLAG_DATE) != 0,
                                .is_reply = (flags & SUMMARY_FLAG_REPLY) != 0,
                                .date_seconds = (int64_t)read_le(data + 12, 8),
                                .zone_minutes = (int16_t)read_le(data + 20, 2),
                                .part_count = (uint32_t)read_le(data + 22, 2)};
    if (flags > (SUMMARY_FLAG_DATE | SUMMARY_FLAG_REPLY) || present >= 1U << SUMMARY_TEXT_COUNT ||
        summary->part_count > SUMMARY_PARTS_MAX || summary->zone_minutes > SUMMARY_ZONE_MAX ||
        summary->zone_minutes < -SUMMARY_ZONE_MAX || summary->size > INT64_MAX) {
        return false;
    }
    size_t at = SUMMARY_HEAD_SIZE;
    for (unsigned i = 0; i < SUMMARY_TEXT_COUNT; i++) {
        uint64_t len = read_le(data + 24 + (size_t)i * 4, 4);
        summary->has[i] = (present >> i & 1) != 0;
        if (len > encoded.len - at || (len > 0 && !summary->has[i])) {
            return false;
        }
        summary->texts[i] = str_sub(encoded, at, at + len);
        at += len;
    }
    summary->parts = str_from(encoded, at);
    if (summary->parts.len != (size_t)summary->part_count * SUMMARY_PART_SIZE) {
        return false;
    }
    for (uint32_t i = 0; i < summary->part_count; i++) {
        if (!check_part(summary, i)) {
            return false;
        }
    }
    return true;
}

/* Octets of a quoted string that mean nothing else: all but these five. */
static const bool special[256] = {['"'] = true, ['\\'] = true, ['\0'] = true, ['\r'] = true, ['\n'] = true};

/* Behind the quoted string at `at`; 0 if it is none that a client can read. */
static size_t skip_quoted(struct str text, size_t at)
{
    for (at++; at < text.len; at++) {
        while (at < text.len && !special[(unsigned char)text.data[at]]) {
            at++;
        }
        char c = at < text.len ? text.data[at] : '\0';
        if (c == '"') {
            return at + 1;
        }
        if (c == '\\') {
            at++;
            c = at < text.len ? text.data[at] : '\0';
        }
        if (c == '\0' || c == '\r' || c == '\n') {
            return 0;
        }
    }
    return 0;
}

/* Behind the literal at `at`; 0 if it is not whole. */
static size_t skip_literal(struct str text, size_t at)
{
    size_t close = str_find(str_sub(text, 0, at + 16), at, '}');
    uint64_t len;
    if (close == SIZE_MAX || !str_to_u64(str_sub(text, at + 1, close), text.len, &len) ||
        !str_starts(str_from(text, close + 1), STR("\r\n")) || len > text.len - close - 3) {
        return 0;
    }
    struct str inside = str_sub(text, close + 3, close + 3 + len);
    return str_find(inside, 0, '\0') == SIZE_MAX ? close + 3 + len : 0;
}

/* One list, whose elements are strings, numbers, NIL and lists. */
static bool is_list(struct str text)
{
    size_t depth = 0;
    size_t at = 0;
    do {
        char c = at < text.len ? text.data[at] : '\0';
        if (c == '(') {
            depth++;
            at++;
        } else if (c == ')') {
            depth--;
            at++;
        } else if (c == ' ' || ascii_is_digit(c)) {
            at++;
        } else if (c == '"') {
            at = skip_quoted(text, at);
        } else if (c == '{') {
            at = skip_literal(text, at);
        } else if (str_starts(str_from(text, at), STR("NIL"))) {
            at += 3;
        } else {
            return false;
        }
        if (at == 0) {
            return false;
        }
    } while (depth > 0);
    return text.data[0] == '(' && at == text.len;
}

static bool is_plain(struct str text)
{
    for (size_t i = 0; i < text.len; i++) {
        if ((unsigned char)text.data[i] < ' ' || text.data[i] == 0x7f) {
            return false;
        }
    }
    return str_is_utf8(text);
}

bool summary_text(const struct summary *summary, enum summary_text which, struct str *text)
{
    *text = summary->texts[which];
    if (!summary->has[which]) {
        return false;
    }
    switch (which) {
    case SUMMARY_ENVELOPE:
    case SUMMARY_BODY:
    case SUMMARY_BODYSTRUCTURE: return is_list(*text);
    case SUMMARY_BASE_SUBJECT:
    case SUMMARY_PREVIEW: return is_plain(*text);
    case SUMMARY_FIELDS:
    case SUMMARY_TEXT_COUNT: break;
    }
    return true;
}
