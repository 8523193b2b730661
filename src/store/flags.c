/* Pages of flags; see flags.h. */
#include "store/flags.h"

#include "store/events.h"

struct entry_values {
    uint32_t uid;
    uint64_t flags;
    uint64_t modseq;
};

struct page {
    uint32_t first_uid; /* its key; 0: it has no row yet */
    size_t count;
    bool changed;
    struct entry_values entries[PAGE_MESSAGES];
};

/* Ranges. */

bool uid_ranges_next(struct str *packed, struct uid_range *range)
{
    if (packed->len < 8) {
        return false;
    }
    range->first = read_le32(packed->data);
    range->last = read_le32(packed->data + 4);
    *packed = str_from(*packed, 8);
    return range->first != 0 && range->first <= range->last;
}

bool uid_ranges_append(struct buf *out, uint32_t uid)
{
    if (out->len >= 8) {
        unsigned char *last = (unsigned char *)out->data + out->len - 4;
        if ((uint64_t)read_le32(last) + 1 == uid) {
            write_le32(last, uid);
            return true;
        }
    }
    uint32_t first = uid, last = uid;
    return buf_append_le32(out, first) && buf_append_le32(out, last);
}

/* Pages. */

static struct str page_octets(sqlite3_stmt *q)
{
    const void *octets = sqlite3_column_blob(q, 1);
    int len = sqlite3_column_bytes(q, 1);
    return len <= 0 ? STR_EMPTY : str_make(octets, (size_t)len);
}

static bool read_page(sqlite3_stmt *q, struct page *page)
{
    struct str octets = page_octets(q);
    struct flags_run run = {.count = 0};
    page->first_uid = (uint32_t)sqlite3_column_int64(q, 0);
    page->count = 0;
    page->changed = false;
    while (page_next_run(&octets, &run)) {
        if (run.count > PAGE_MESSAGES - page->count) {
            return false;
        }
        for (uint32_t i = 0; i < run.count; i++) {
            page->entries[page->count++] =
                (struct entry_values){run.uid + i, run.flags, flags_run_modseq(&run, i)};
        }
    }
    return octets.len == 0;
}

static int page_error(struct index *index, const struct mailbox *mailbox)
{
    sqlite3_snprintf(sizeof(index->error), index->error,
                     "a page of flags of mailbox %lld is malformed; run `veredus reindex`",
                     (long long)mailbox->id);
    return -1;
}

/* The key of the page that has, or would have, this UID; `uid` itself if there is none before it. */
static int find_page(struct index *index, const struct mailbox *mailbox, uint32_t uid, uint32_t *first_uid)
{
    sqlite3_stmt *q = sql_prepare(index, SQL_PAGE_FIRST);
    if (q == NULL) {
        return -1;
    }
    sql_int(q, 1, mailbox->account);
    sql_int(q, 2, mailbox->id);
    sql_int(q, 3, uid);
    index->error[0] = '\0';
    *first_uid = uid;
    if (sql_row(index, q)) {
        *first_uid = (uint32_t)sqlite3_column_int64(q, 0);
        sql_done(q);
    }
    return index->error[0] == '\0' ? 0 : -1;
}

static sqlite3_stmt *list_pages(struct index *index, const struct mailbox *mailbox, uint32_t first_uid)
{
    sqlite3_stmt *q = sql_prepare(index, SQL_PAGE_LIST);
    if (q != NULL) {
        sql_int(q, 1, mailbox->account);
        sql_int(q, 2, mailbox->id);
        sql_int(q, 3, first_uid);
    }
    return q;
}

/* 1 if there is a page from this key on, 0 if not, -1 on error. */
static int load_page(struct index *index, const struct mailbox *mailbox, uint32_t first_uid,
                     struct page *page)
{
    sqlite3_stmt *q = list_pages(index, mailbox, first_uid);
    if (q == NULL) {
        return -1;
    }
    index->error[0] = '\0';
    if (!sql_row(index, q)) {
        return index->error[0] == '\0' ? 0 : -1;
    }
    bool fine = read_page(q, page);
    sql_done(q);
    return fine ? 1 : page_error(index, mailbox);
}

static int remove_page(struct index *index, const struct mailbox *mailbox, uint32_t first_uid)
{
    sqlite3_stmt *q = sql_prepare(index, SQL_PAGE_REMOVE);
    if (q == NULL) {
        return -1;
    }
    sql_int(q, 1, mailbox->account);
    sql_int(q, 2, mailbox->id);
    sql_int(q, 3, first_uid);
    return sql_run(index, q);
}

static size_t encode_page(const struct page *page, unsigned char octets[PAGE_OCTETS])
{
    struct flags_run before = {.count = 0};
    struct flags_run run = {.count = 0};
    size_t len = 0;
    for (size_t i = 0; i < page->count; i++) {
        const struct entry_values *e = &page->entries[i];
        struct flags_run next = {.uid = e->uid, .count = 1, .flags = e->flags, .modseq = e->modseq};
        if (run.count > 0 && !flags_run_join(&run, &next)) {
            len += page_put_run(octets + len, &before, &run);
            before = run;
            run = next;
        } else if (run.count == 0) {
            run = next;
        }
    }
    return len + page_put_run(octets + len, &before, &run);
}

static int write_page(struct index *index, const struct mailbox *mailbox, struct page *page)
{
    unsigned char octets[PAGE_OCTETS];
    if (!page->changed) {
        return 0;
    }
    page->changed = false;
    if (page->count == 0) {
        return page->first_uid == 0 ? 0 : remove_page(index, mailbox, page->first_uid);
    }
    if (page->first_uid == 0) {
        page->first_uid = page->entries[0].uid;
    }
    sqlite3_stmt *q = sql_prepare(index, SQL_PAGE_SET);
    if (q == NULL) {
        return -1;
    }
    sql_int(q, 1, mailbox->account);
    sql_int(q, 2, mailbox->id);
    sql_int(q, 3, page->first_uid);
    sql_blob(q, 4, octets, encode_page(page, octets));
    return sql_run(index, q);
}

/* Reading. */

static int runs_outside(struct index *index, const struct mailbox *mailbox, uint32_t from, uint64_t since,
                        bool (*each)(void *context, const struct flags_run *run), void *context)
{
    sqlite3_stmt *q = sql_prepare(index, SQL_MESSAGE_FLAGS);
    if (q == NULL) {
        return -1;
    }
    sql_int(q, 1, mailbox->account);
    sql_int(q, 2, mailbox->id);
    sql_int(q, 3, from > mailbox->paged_uid ? from : mailbox->paged_uid);
    index->error[0] = '\0';
    while (sql_row(index, q)) {
        struct flags_run run = {.uid = (uint32_t)sqlite3_column_int64(q, 0),
                                .count = 1,
                                .flags = (uint64_t)sqlite3_column_int64(q, 1),
                                .modseq = (uint64_t)sqlite3_column_int64(q, 2)};
        if (run.modseq > since && !each(context, &run)) {
            sql_done(q);
            return 0;
        }
    }
    return index->error[0] == '\0' ? 0 : -1;
}

int flags_runs(struct index *index, const struct mailbox *mailbox, uint32_t from, uint64_t since,
               bool (*each)(void *context, const struct flags_run *run), void *context)
{
    uint32_t first_uid = 0;
    if (from > 1 && find_page(index, mailbox, from, &first_uid) != 0) {
        return -1;
    }
    sqlite3_stmt *q = list_pages(index, mailbox, first_uid);
    if (q == NULL) {
        return -1;
    }
    index->error[0] = '\0';
    while (sql_row(index, q)) {
        struct str octets = page_octets(q);
        struct flags_run next = {.count = 0};
        while (page_next_run(&octets, &next)) {
            struct flags_run run = next;
            if (flags_run_cut(&run, from, since) && !each(context, &run)) {
                sql_done(q);
                return 0;
            }
        }
        if (octets.len > 0) {
            sql_done(q);
            return page_error(index, mailbox);
        }
    }
    return index->error[0] == '\0' ? runs_outside(index, mailbox, from, since, each, context) : -1;
}

struct one_by_one {
    bool (*each)(void *context, uint32_t uid, uint64_t flags, uint64_t modseq);
    void *context;
};

static bool each_of_run(void *context, const struct flags_run *run)
{
    const struct one_by_one *o = context;
    for (uint32_t i = 0; i < run->count; i++) {
        if (!o->each(o->context, run->uid + i, run->flags, flags_run_modseq(run, i))) {
            return false;
        }
    }
    return true;
}

int flags_each(struct index *index, const struct mailbox *mailbox, uint32_t from, uint64_t since,
               bool (*each)(void *context, uint32_t uid, uint64_t flags, uint64_t modseq), void *context)
{
    struct one_by_one one_by_one = {.each = each, .context = context};
    return flags_runs(index, mailbox, from, since, each_of_run, &one_by_one);
}

/* Folding. */

struct folding {
    struct index *index;
    const struct mailbox *mailbox;
    struct page page;
    bool failed;
};

static bool fold_one(void *context, const struct flags_run *run)
{
    struct folding *f = context;
    if (f->page.count == PAGE_MESSAGES) {
        f->failed = write_page(f->index, f->mailbox, &f->page) != 0;
        f->page.count = 0;
        f->page.first_uid = 0;
    }
    f->page.entries[f->page.count++] = (struct entry_values){run->uid, run->flags, run->modseq};
    f->page.changed = true;
    return !f->failed;
}

int flags_fold(struct index *index, struct mailbox *mailbox)
{
    struct folding f = {.index = index, .mailbox = mailbox, .failed = false};
    uint32_t first_uid = 0;
    if (mailbox->paged_uid >= mailbox->uid_next) {
        return 0;
    }
    f.page.count = 0;
    f.page.first_uid = 0;
    if (find_page(index, mailbox, UINT32_MAX, &first_uid) != 0 ||
        (first_uid != UINT32_MAX && load_page(index, mailbox, first_uid, &f.page) < 0) ||
        runs_outside(index, mailbox, 1, 0, fold_one, &f) != 0 || f.failed ||
        write_page(index, mailbox, &f.page) != 0) {
        return -1;
    }
    mailbox->paged_uid = mailbox->uid_next;
    return 0;
}

/* Changing. */

/* Pages of the ranges one after the other; `visit` may change entries, and takes out those that it returns 1 for. */
struct visit {
    int (*entry)(void *context, struct entry_values *values, bool *changed);
    void *context;
};

static int visit_page(const struct visit *visit, struct page *page, const struct uid_range *ranges,
                      size_t count, size_t *at)
{
    size_t kept = 0;
    for (size_t i = 0; i < page->count; i++) {
        struct entry_values e = page->entries[i];
        bool changed = false;
        while (*at < count && ranges[*at].last < e.uid) {
            ++*at;
        }
        int taken =
            *at < count && ranges[*at].first <= e.uid ? visit->entry(visit->context, &e, &changed) : 0;
        if (taken < 0) {
            return -1;
        }
        if (taken == 0) {
            if (changed || kept != i) {
                page->entries[kept] = e;
                page->changed = true;
            }
            kept++;
        }
    }
    page->changed = page->changed || kept != page->count;
    page->count = kept;
    return 0;
}

static int visit_ranges(struct index *index, struct mailbox *mailbox, const struct uid_range *ranges,
                        size_t count, const struct visit *visit)
{
    struct page page;
    size_t at = 0;
    uint32_t next = 0;
    if (flags_fold(index, mailbox) != 0) {
        return -1;
    }
    while (at < count) {
        uint32_t key;
        if (find_page(index, mailbox, ranges[at].first, &key) != 0) {
            return -1;
        }
        int found = load_page(index, mailbox, key > next ? key : next, &page);
        if (found <= 0) {
            return found;
        }
        next = page.first_uid + 1;
        uint32_t last_uid = page.count == 0 ? 0 : page.entries[page.count - 1].uid;
        if (visit_page(visit, &page, ranges, count, &at) != 0 || write_page(index, mailbox, &page) != 0) {
            return -1;
        }
        while (at < count && ranges[at].last <= last_uid) {
            at++; /* all of it was in this page */
        }
    }
    return 0;
}

struct storing {
    struct mailbox *mailbox;
    const struct flags_change *change;
    struct buf *refused;
    uint64_t changed;
};

static int store_one(void *context, struct entry_values *e, bool *changed)
{
    struct storing *s = context;
    uint64_t flags = s->change->operation == FLAGS_REPLACE ? s->change->flags
                     : s->change->operation == FLAGS_ADD   ? e->flags | s->change->flags
                                                           : e->flags & ~s->change->flags;
    if (e->modseq > s->change->unchanged_since) {
        return uid_ranges_append(s->refused, e->uid) ? 0 : -1;
    }
    if (flags == e->flags) {
        return 0;
    }
    s->mailbox->unseen += ((flags & FLAG_SEEN) == 0) - ((e->flags & FLAG_SEEN) == 0);
    s->mailbox->deleted += ((flags & FLAG_DELETED) != 0) - ((e->flags & FLAG_DELETED) != 0);
    e->flags = flags;
    e->modseq = s->change->modseq;
    s->mailbox->modseq = s->change->modseq;
    s->changed++;
    *changed = true;
    return 0;
}

int flags_store(struct index *index, struct mailbox *mailbox, const struct flags_change *change,
                const struct uid_range *ranges, size_t count, struct buf *refused, uint64_t *changed)
{
    struct storing storing = {.mailbox = mailbox, .change = change, .refused = refused};
    struct visit visit = {store_one, &storing};
    int result = visit_ranges(index, mailbox, ranges, count, &visit);
    *changed = storing.changed;
    if (result == 0 && storing.changed > 0) {
        events_flags(index, mailbox, change, ranges, count);
    }
    return result;
}

struct taking {
    struct mailbox *mailbox;
    bool deleted_only;
    int (*each)(void *context, uint32_t uid, uint64_t flags);
    void *context;
};

static int take_one(void *context, struct entry_values *e, bool *changed)
{
    struct taking *t = context;
    (void)changed;
    if (t->deleted_only && (e->flags & FLAG_DELETED) == 0) {
        return 0;
    }
    t->mailbox->messages--;
    t->mailbox->unseen -= (e->flags & FLAG_SEEN) == 0;
    t->mailbox->deleted -= (e->flags & FLAG_DELETED) != 0;
    return t->each(t->context, e->uid, e->flags) != 0 ? -1 : 1;
}

int flags_take(struct index *index, struct mailbox *mailbox, const struct uid_range *ranges, size_t count,
               bool deleted_only, int (*each)(void *context, uint32_t uid, uint64_t flags), void *context)
{
    struct taking taking = {
        .mailbox = mailbox, .deleted_only = deleted_only, .each = each, .context = context};
    struct visit visit = {take_one, &taking};
    return visit_ranges(index, mailbox, ranges, count, &visit);
}

int flags_forget(struct index *index, int64_t account, int64_t mailbox)
{
    sqlite3_stmt *pages = sql_prepare(index, SQL_PAGE_REMOVE_ALL);
    sqlite3_stmt *expunged = sql_prepare(index, SQL_EXPUNGED_REMOVE_ALL);
    if (pages == NULL || expunged == NULL) {
        return -1;
    }
    sql_int(pages, 1, account);
    sql_int(pages, 2, mailbox);
    sql_int(expunged, 1, account);
    sql_int(expunged, 2, mailbox);
    return sql_run(index, pages) == 0 && sql_run(index, expunged) == 0 ? 0 : -1;
}

/* Keywords. */

static int read_keywords(struct index *index, const struct mailbox *mailbox, struct buf *all)
{
    sqlite3_stmt *q = sql_prepare(index, SQL_MAILBOX_TEXTS);
    if (q == NULL) {
        return -1;
    }
    sql_int(q, 1, mailbox->account);
    sql_int(q, 2, mailbox->id);
    if (!sql_row(index, q)) {
        return -1;
    }
    buf_append_str(all, sql_get_text(q, 1));
    sql_done(q);
    return buf_ok(all) ? 0 : -1;
}

static unsigned keyword_number(struct str all, struct str name, unsigned *count)
{
    struct str word;
    unsigned found = UINT32_MAX;
    *count = 0;
    while (all.len > 0 && str_split(&all, ' ', &word)) {
        if (word.len > 0 && found == UINT32_MAX && str_equal_nocase(word, name)) {
            found = *count;
        }
        *count += word.len > 0;
    }
    return found;
}

uint64_t flags_known_keywords(struct str all, struct str names)
{
    struct str name;
    uint64_t bits = 0;
    while (names.len > 0 && str_split(&names, ' ', &name)) {
        unsigned count;
        unsigned number = name.len == 0 ? UINT32_MAX : keyword_number(all, name, &count);
        bits |= number < FLAGS_KEYWORDS_MAX ? 1ULL << (FLAGS_KEYWORD_FIRST + number) : 0;
    }
    return bits;
}

int flags_keywords(struct index *index, const struct mailbox *mailbox, struct str names, uint64_t *bits,
                   struct buf *all, bool *full)
{
    struct str name;
    bool added = false;
    *bits = 0;
    *full = false;
    if (read_keywords(index, mailbox, all) != 0) {
        return -1;
    }
    while (names.len > 0 && str_split(&names, ' ', &name)) {
        unsigned count;
        unsigned number = name.len == 0 ? 0 : keyword_number(buf_str(all), name, &count);
        if (name.len == 0) {
            continue;
        }
        if (number == UINT32_MAX &&
            (count >= FLAGS_KEYWORDS_MAX || all->len + name.len + 1 > FLAGS_KEYWORDS_OCTETS)) {
            *full = true;
            continue;
        }
        if (number == UINT32_MAX) {
            added = buf_append_str(all, name) && buf_append_char(all, ' ');
            number = count;
        }
        *bits |= 1ULL << (FLAGS_KEYWORD_FIRST + number);
    }
    if (!added) {
        return buf_ok(all) ? 0 : -1;
    }
    sqlite3_stmt *q = buf_ok(all) ? sql_prepare(index, SQL_MAILBOX_SET_KEYWORDS) : NULL;
    if (q == NULL) {
        return -1;
    }
    sql_int(q, 1, mailbox->account);
    sql_int(q, 2, mailbox->id);
    sql_text(q, 3, buf_str(all));
    events_keywords(index, mailbox, buf_str(all));
    return sql_run(index, q);
}
