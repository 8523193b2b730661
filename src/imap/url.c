/* IMAP URLs that name a message, or a part of one, in a mailbox of the same account (RFC 5092, relative forms). */
#include "imap/server_private.h"

/* "%20" and so on; into the arena. */
static bool decode(struct imap_server *s, struct str text, struct str *decoded)
{
    char *room = arena_alloc(&s->arena, text.len + 1);
    size_t len = 0;
    if (room == NULL) {
        return false;
    }
    for (size_t i = 0; i < text.len; i++) {
        char c = text.data[i];
        if (c == '%') {
            int high = i + 2 < text.len ? ascii_hex_value(text.data[i + 1]) : -1;
            int low = high >= 0 ? ascii_hex_value(text.data[i + 2]) : -1;
            if (low < 0) {
                return false;
            }
            c = (char)(high << 4 | low);
            i += 2;
        }
        room[len++] = c;
    }
    *decoded = str_make(room, len);
    return true;
}

/* Takes ";NAME=value" from the front, the value up to "/" or ";"; `name` with both signs. */
static bool take_parameter(struct str *rest, struct str name, struct str *value)
{
    if (!str_starts_nocase(*rest, name)) {
        return false;
    }
    size_t end = name.len;
    while (end < rest->len && rest->data[end] != '/' && rest->data[end] != ';') {
        end++;
    }
    *value = str_sub(*rest, name.len, end);
    *rest = str_from(*rest, end);
    return true;
}

/* "/;UID=20/;SECTION=1.2/;PARTIAL=0.1024", all of it. */
static bool parse_message(struct imap_server *s, struct str rest, struct imap_url *url)
{
    struct str value;
    uint64_t uid;
    rest = str_starts(rest, STR("/")) ? str_from(rest, 1) : rest;
    if (!take_parameter(&rest, STR(";UID="), &value) || !str_to_u64(value, UINT32_MAX, &uid) || uid == 0) {
        return false;
    }
    url->uid = (uint32_t)uid;
    rest = str_equal(rest, STR("/")) ? STR_EMPTY : rest;
    if (take_parameter(&rest, STR("/;SECTION="), &value) && !decode(s, value, &url->section)) {
        return false;
    }
    if (take_parameter(&rest, STR("/;PARTIAL="), &value)) {
        size_t dot = str_find(value, 0, '.');
        struct str offset = str_sub(value, 0, dot == SIZE_MAX ? value.len : dot);
        if (!str_to_u64(offset, UINT32_MAX, &url->offset) ||
            (dot != SIZE_MAX && !str_to_u64(str_from(value, dot + 1), UINT32_MAX, &url->length))) {
            return false;
        }
    }
    return rest.len == 0;
}

/* The mailbox that relative forms without a "/" in front begin from. */
static struct str parent_of(const struct imap_server *s)
{
    struct str name = s->state == IMAP_SELECTED ? buf_str(&s->selected.name) : STR_EMPTY;
    size_t slash = str_find_last(name, '/');
    return slash == SIZE_MAX ? STR_EMPTY : str_sub(name, 0, slash + 1);
}

static bool name_mailbox(struct imap_server *s, struct str encoded, bool absolute, struct imap_url *url)
{
    struct str name;
    struct buf whole = buf_make(2 * (size_t)IMAP_NAME_MAX);
    bool fine = decode(s, encoded, &name) && buf_append_str(&whole, absolute ? STR_EMPTY : parent_of(s)) &&
                buf_append_str(&whole, name) && imap_name_of_utf8(s, buf_str(&whole), &url->mailbox);
    buf_free(&whole);
    return fine && url->mailbox.len > 0;
}

bool imap_url_parse(struct imap_server *s, struct str text, struct imap_url *url)
{
    bool absolute = str_starts(text, STR("/")) && !str_starts(text, STR("//"));
    struct str rest = str_from(text, absolute ? 1 : 0);
    struct str value;
    uint64_t validity;
    size_t end = str_find(rest, 0, ';');
    *url = (struct imap_url){.section = STR_EMPTY, .length = UINT64_MAX};
    if (end == SIZE_MAX || str_starts(text, STR("//"))) {
        return false;
    }
    struct str name = str_sub(rest, 0, end);
    rest = str_from(rest, end);
    if (name.len > 0 && name.data[name.len - 1] == '/') {
        name.len--;
    }
    if (str_find(name, 0, ':') != SIZE_MAX && !absolute) {
        return false; /* a scheme */
    }
    if (take_parameter(&rest, STR(";UIDVALIDITY="), &value)) {
        if (!str_to_u64(value, UINT32_MAX, &validity)) {
            return false;
        }
        url->has_validity = true;
        url->uid_validity = (uint32_t)validity;
    }
    if (name.len == 0 && s->state == IMAP_SELECTED) {
        url->mailbox = arena_copy(&s->arena, buf_str(&s->selected.name));
    } else if (!name_mailbox(s, name, absolute, url)) {
        return false;
    }
    return url->mailbox.data != NULL && parse_message(s, rest, url);
}
