/* Which mailboxes a client means (RFC 5465, section 6; RFC 7377, section 2.2); see filter_private.h. */
#include "imap/filter_private.h"

#include <stdlib.h>

static int compare_names(const void *a, const void *b)
{
    return str_compare(*(const struct str *)a, *(const struct str *)b);
}

/* " name" or " (name name)" */
static bool scan_names(struct imap_server *s, struct imap_scan *scan, struct imap_filter *filter)
{
    struct buf names = buf_make((size_t)IMAP_LINE_MAX * sizeof(struct str));
    struct str name;
    bool fine = imap_scan_space(scan);
    bool several = fine && imap_scan_char(scan, '(');
    do {
        fine = fine && imap_scan_name(s, scan, &name) && buf_append(&names, &name, sizeof(name));
    } while (fine && several && imap_scan_peek(scan) == ' ' && imap_scan_space(scan));
    fine = fine && (!several || imap_scan_char(scan, ')'));
    if (fine) {
        filter->name_count = names.len / sizeof(name);
        filter->names = arena_alloc(&s->arena, names.len);
        fine = filter->names != NULL;
    }
    if (fine) {
        memcpy(filter->names, names.data, names.len);
        qsort(filter->names, filter->name_count, sizeof(name), compare_names);
    }
    buf_free(&names);
    return fine;
}

bool imap_filter_scan(struct imap_server *s, struct imap_scan *scan, enum imap_filter_kind never,
                      struct imap_filter *filter)
{
    static const struct {
        struct str word;
        enum imap_filter_kind kind;
    } words[] = {
        {{"selected", 8}, FILTER_SELECTED},        {{"selected-delayed", 16}, FILTER_SELECTED_DELAYED},
        {{"inboxes", 7}, FILTER_INBOXES},          {{"personal", 8}, FILTER_PERSONAL},
        {{"subscribed", 10}, FILTER_SUBSCRIBED},   {{"subtree", 7}, FILTER_SUBTREE},
        {{"subtree-one", 11}, FILTER_SUBTREE_ONE}, {{"mailboxes", 9}, FILTER_MAILBOXES}};
    *filter = (struct imap_filter){.names = NULL};
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        if (words[i].kind != never && imap_scan_word(scan, words[i].word)) {
            filter->kind = words[i].kind;
            return filter->kind < FILTER_SUBTREE || scan_names(s, scan, filter);
        }
    }
    scan->why = never == FILTER_SUBTREE_ONE
                    ? "selected, selected-delayed, inboxes, personal, subscribed, subtree or mailboxes"
                    : "selected, inboxes, personal, subscribed, subtree, subtree-one or mailboxes";
    return false;
}

static bool has_name(const struct imap_filter *filter, struct str name)
{
    return bsearch(&name, filter->names, filter->name_count, sizeof(name), compare_names) != NULL;
}

static bool has_name_above(const struct imap_filter *filter, struct str name)
{
    for (size_t i = 0; i < name.len; i++) {
        if (name.data[i] == '/' && has_name(filter, str_sub(name, 0, i))) {
            return true;
        }
    }
    return false;
}

bool imap_filter_matches(const struct imap_server *s, const struct imap_filter *filter, struct str name,
                         bool subscribed)
{
    size_t slash = str_find_last(name, '/');
    switch (filter->kind) {
    case FILTER_SELECTED:
    case FILTER_SELECTED_DELAYED: return imap_is_selected(s, name);
    case FILTER_INBOXES: return str_equal(name, STR("INBOX")); /* nothing else is delivered to */
    case FILTER_PERSONAL: return !is_other_users(name);
    case FILTER_SUBSCRIBED: return subscribed;
    case FILTER_SUBTREE: return has_name(filter, name) || has_name_above(filter, name);
    case FILTER_SUBTREE_ONE:
        return has_name(filter, name) || (slash != SIZE_MAX && has_name(filter, str_sub(name, 0, slash)));
    case FILTER_MAILBOXES: return has_name(filter, name);
    }
    return false;
}
