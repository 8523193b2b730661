/* Rows of mailboxes: their order, and how LIST and STATUS write them. */
#include "imap/rows_private.h"

#include <stdlib.h>

/* Order. */

static int compare_rows(const void *a, const void *b)
{
    const struct imap_kept_row *left = a;
    const struct imap_kept_row *right = b;
    return str_compare(left->row.name, right->row.name);
}

void imap_sort_rows(struct imap_server *s)
{
    if (s->row_count > 1) {
        qsort(s->rows, s->row_count, sizeof(*s->rows), compare_rows);
    }
}

bool imap_is_below(struct str name, struct str parent)
{
    return name.len > parent.len && name.data[parent.len] == '/' && str_starts(name, parent);
}

size_t imap_find_row(const struct imap_kept_row *rows, size_t count, struct str name)
{
    size_t low = 0;
    size_t high = count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (str_compare(rows[middle].row.name, name) < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

/* Names below sort behind "name/": between may be others ("name-x"). */
size_t imap_first_below(const struct imap_server *s, struct str name)
{
    size_t low = 0;
    size_t high = s->row_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        struct str other = s->rows[middle].row.name;
        int order = str_compare(str_sub(other, 0, name.len), name);
        if (order < 0 ||
            (order == 0 && (other.len <= name.len || (unsigned char)other.data[name.len] < '/'))) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

bool imap_has_children(const struct imap_server *s, struct str name)
{
    for (size_t i = imap_first_below(s, name); i < s->row_count && imap_is_below(s->rows[i].row.name, name);
         i++) {
        if (s->rows[i].row.exists) {
            return true;
        }
    }
    return false;
}

void imap_hide_rows(struct imap_server *s)
{
    for (size_t i = 0; i < s->row_count; i++) {
        s->rows[i].row.exists = s->rows[i].row.exists && (s->rows[i].row.rights & RIGHT_LOOKUP) != 0;
    }
}

/* LIST. */

static const struct {
    struct str name;
    uint32_t use;
} special_uses[] = {{{"\\All", 4}, IMAP_USE_ALL},       {{"\\Archive", 8}, IMAP_USE_ARCHIVE},
                    {{"\\Drafts", 7}, IMAP_USE_DRAFTS}, {{"\\Flagged", 8}, IMAP_USE_FLAGGED},
                    {{"\\Junk", 5}, IMAP_USE_JUNK},     {{"\\Sent", 5}, IMAP_USE_SENT},
                    {{"\\Trash", 6}, IMAP_USE_TRASH},   {{"\\Important", 10}, IMAP_USE_IMPORTANT}};

uint32_t imap_special_use_of(struct str name)
{
    for (size_t i = 0; i < sizeof(special_uses) / sizeof(special_uses[0]); i++) {
        if (str_equal_nocase(name, special_uses[i].name)) {
            return special_uses[i].use;
        }
    }
    return 0;
}

static void write_attribute(struct str name, bool *first, struct buf *out)
{
    if (!*first) {
        buf_append_char(out, ' ');
    }
    *first = false;
    buf_append_str(out, name);
}

void imap_write_attributes(const struct imap_server *s, const struct imap_row *row, unsigned attributes,
                           struct buf *out)
{
    bool first = true;
    buf_append_char(out, '(');
    if ((attributes & (ATTRIBUTE_NOSELECT | ATTRIBUTE_NONEXISTENT)) != 0 && !row->exists) {
        write_attribute((attributes & ATTRIBUTE_NOSELECT) != 0 ? STR("\\Noselect") : STR("\\NonExistent"),
                        &first, out);
    }
    if ((attributes & ATTRIBUTE_NOACCESS) != 0 && row->exists && (row->rights & RIGHT_READ) == 0) {
        write_attribute(STR("\\NoAccess"), &first, out);
    }
    if ((attributes & ATTRIBUTE_CHILDREN) != 0) {
        write_attribute(imap_has_children(s, row->name) ? STR("\\HasChildren") : STR("\\HasNoChildren"),
                        &first, out);
    }
    if ((attributes & ATTRIBUTE_SUBSCRIBED) != 0 && row->subscribed) {
        write_attribute(STR("\\Subscribed"), &first, out);
    }
    for (size_t i = 0;
         (attributes & ATTRIBUTE_SPECIAL) != 0 && i < sizeof(special_uses) / sizeof(special_uses[0]); i++) {
        if ((row->special_use & special_uses[i].use) != 0) {
            write_attribute(special_uses[i].name, &first, out);
        }
    }
    buf_append_char(out, ')');
}

/* STATUS. */

static const struct {
    struct str name;
    unsigned item;
} status_items[] = {{{"MESSAGES", 8}, STATUS_MESSAGES},
                    {{"UIDNEXT", 7}, STATUS_UIDNEXT},
                    {{"UIDVALIDITY", 11}, STATUS_UIDVALIDITY},
                    {{"UNSEEN", 6}, STATUS_UNSEEN},
                    {{"DELETED", 7}, STATUS_DELETED},
                    {{"SIZE", 4}, STATUS_SIZE},
                    {{"HIGHESTMODSEQ", 13}, STATUS_HIGHESTMODSEQ},
                    {{"RECENT", 6}, STATUS_RECENT},
                    {{"MAILBOXID", 9}, STATUS_MAILBOXID},
                    {{"APPENDLIMIT", 11}, STATUS_APPENDLIMIT},
                    {{"DELETED-STORAGE", 15}, STATUS_DELETED_STORAGE}};
enum { STATUS_ITEMS = sizeof(status_items) / sizeof(status_items[0]) };

/* "(MESSAGES UNSEEN)" */
bool imap_scan_status_items(struct imap_scan *scan, unsigned *items)
{
    struct str word;
    if (!imap_scan_char(scan, '(')) {
        return false;
    }
    while (imap_scan_peek(scan) != ')') {
        size_t i = 0;
        if (!imap_scan_atom(scan, &word)) {
            return false;
        }
        while (i < STATUS_ITEMS && !str_equal_nocase(word, status_items[i].name)) {
            i++;
        }
        if (i == STATUS_ITEMS || (imap_scan_peek(scan) != ')' && !imap_scan_space(scan))) {
            scan->why = "an item that STATUS knows";
            return false;
        }
        *items |= status_items[i].item;
    }
    return imap_scan_char(scan, ')');
}

static void write_item(const struct imap_server *s, const struct imap_row *row, unsigned item,
                       struct buf *out)
{
    switch (item) {
    case STATUS_MESSAGES: buf_append_u64(out, row->messages); break;
    case STATUS_UIDNEXT: buf_append_u64(out, row->uid_next); break;
    case STATUS_UIDVALIDITY: buf_append_u64(out, row->uid_validity); break;
    case STATUS_UNSEEN: buf_append_u64(out, row->unseen); break;
    case STATUS_DELETED: buf_append_u64(out, row->deleted); break;
    case STATUS_SIZE: buf_append_u64(out, row->octets); break;
    case STATUS_HIGHESTMODSEQ: buf_append_u64(out, row->modseq); break;
    case STATUS_DELETED_STORAGE: buf_append_u64(out, (row->deleted_octets + 1023) / 1024); break;
    case STATUS_RECENT: buf_append_u64(out, row->recent); break;
    case STATUS_MAILBOXID:
        buf_append_char(out, '(');
        imap_write_id(row->id, out);
        buf_append_char(out, ')');
        break;
    default: buf_append_u64(out, s->settings->append_max); break;
    }
}

void imap_write_status(const struct imap_server *s, const struct imap_row *row, unsigned items,
                       struct buf *out)
{
    bool first = true;
    buf_append_lit(out, "* STATUS ");
    imap_name_write(s, row->name, out);
    buf_append_lit(out, " (");
    for (size_t i = 0; i < STATUS_ITEMS; i++) {
        if ((items & status_items[i].item) != 0) {
            if (!first) {
                buf_append_char(out, ' ');
            }
            first = false;
            buf_append_str(out, status_items[i].name);
            buf_append_char(out, ' ');
            write_item(s, row, status_items[i].item, out);
        }
    }
    buf_append_lit(out, ")\r\n");
}
