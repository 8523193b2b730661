/* Names and lines of a Maildir; see maildir.h. */
#include "message/maildir.h"

#include "message/mutf7.h"

struct maildir_name maildir_name_read(struct str file)
{
    size_t colon = str_find(file, 0, ':');
    struct maildir_name name = {.unique = str_sub(file, 0, colon), .flags = STR_EMPTY};
    if (str_starts(str_from(file, colon), STR(":2,"))) {
        name.flags = str_from(file, colon + 3);
    }
    return name;
}

uint64_t maildir_name_seconds(struct str unique)
{
    uint64_t seconds = 0;
    size_t dot = str_find(unique, 0, '.');
    return dot != SIZE_MAX && str_to_u64(str_sub(unique, 0, dot), UINT32_MAX, &seconds) ? seconds : 0;
}

static bool take_number(struct str text, uint32_t *number)
{
    uint64_t value;
    if (!str_to_u64(text, UINT32_MAX - 1, &value)) {
        return false;
    }
    *number = (uint32_t)value;
    return true;
}

bool maildir_uidlist_header(struct str line, struct maildir_uidlist *list)
{
    struct str rest = line;
    struct str word;
    *list = (struct maildir_uidlist){.version = 0};
    if (!str_split(&rest, ' ', &word)) {
        return false;
    }
    if (str_equal(word, STR("1"))) {
        list->version = 1;
        return str_split(&rest, ' ', &word) && take_number(word, &list->uid_validity) &&
               str_split(&rest, ' ', &word) && take_number(word, &list->uid_next);
    }
    if (!str_equal(word, STR("3"))) {
        return false;
    }
    list->version = 3;
    bool fine = true;
    while (fine && str_split(&rest, ' ', &word)) {
        if (str_starts(word, STR("V"))) {
            fine = take_number(str_from(word, 1), &list->uid_validity);
        } else if (str_starts(word, STR("N"))) {
            fine = take_number(str_from(word, 1), &list->uid_next);
        }
    }
    return fine && list->uid_validity != 0;
}

bool maildir_uidlist_entry(const struct maildir_uidlist *list, struct str line, uint32_t *uid,
                           struct str *file)
{
    struct str rest = line;
    struct str word;
    if (!str_split(&rest, ' ', &word) || !take_number(word, uid) || *uid == 0 || rest.data == NULL) {
        return false;
    }
    /* Version 3 has fields before the name, which begins with a colon. */
    size_t colon = list->version == 3 ? str_find(rest, 0, ':') : 0;
    if (list->version == 3 && colon == SIZE_MAX) {
        return false;
    }
    *file = maildir_name_read(list->version == 3 ? str_from(rest, colon + 1) : rest).unique;
    return file->len > 0;
}

bool maildir_keyword(struct str line, unsigned *letter, struct str *name)
{
    uint64_t number;
    size_t space = str_find(line, 0, ' ');
    if (space == SIZE_MAX || !str_to_u64(str_sub(line, 0, space), MAILDIR_KEYWORDS - 1, &number)) {
        return false;
    }
    *letter = (unsigned)number;
    *name = str_from(line, space + 1);
    return name->len > 0;
}

/* A dot within a part, which would otherwise end it. */
static const struct str escaped_dot = {"&AC4-", 5};

/* Appends what stands in modified UTF-7; plain UTF-8 is taken as it is, as Dovecot can be configured to write it. */
static bool append_text(struct str text, struct buf *out)
{
    return str_is_ascii(text) ? mutf7_decode(text, out) : str_is_utf8(text) && buf_append_str(out, text);
}

bool maildir_folder_from(struct str directory, struct buf *name)
{
    if (directory.len < 2 || directory.data[0] != '.' || directory.data[1] == '.' ||
        str_find(directory, 0, '/') != SIZE_MAX || str_find(directory, 0, '\0') != SIZE_MAX) {
        return false;
    }
    struct str rest = str_from(directory, 1);
    size_t begin = 0;
    for (size_t at = 0; at <= rest.len; at++) {
        bool escaped = str_starts(str_from(rest, at), escaped_dot);
        if (at < rest.len && rest.data[at] != '.' && !escaped) {
            continue;
        }
        if (!append_text(str_sub(rest, begin, at), name) ||
            (at < rest.len && !buf_append_char(name, escaped ? '.' : '/'))) {
            return false;
        }
        at += escaped ? escaped_dot.len - 1 : 0;
        begin = at + 1;
    }
    return true;
}

bool maildir_folder_to(struct str name, struct buf *directory)
{
    struct str rest = name;
    struct str part;
    while (str_split(&rest, '/', &part)) {
        struct str piece;
        bool first = true;
        buf_append_char(directory, '.');
        while (str_split(&part, '.', &piece)) {
            if (!first) {
                buf_append_str(directory, escaped_dot);
            }
            mutf7_encode(piece, directory);
            first = false;
        }
    }
    return buf_ok(directory);
}
