/* A store at work; see workload.h. */
#include "workload.h"

#include "disk.h"
#include "store/acl.h"
#include "store/annotation.h"
#include "store/folder.h"
#include "store/move.h"

#include <stdio.h>
#include <unistd.h>

enum { DIGITS = 6 };

static const int origins[WORKLOAD_WRITERS] = {ROLE_SMTPD_MX, ROLE_SMTPD_MSA, ROLE_IMAPD};

enum { IMAPD = 2 };

static uint64_t dice(struct workload *w, uint64_t sides)
{
    return disk_random(&w->random) % sides;
}

/* Ends a transaction. */
static bool settle(struct workload *w, bool fine)
{
    if (fine && fixture_commit(w->f) == 0) {
        return true;
    }
    index_rollback(w->f->index);
    apply_abort(w->f->applier);
    w->failures++;
    return false;
}

static bool make_segment(struct workload *w, int which)
{
    int64_t id;
    int fd = index_begin(w->f->index) == 0 ? segment_create(&w->f->segments, w->f->index, origins[which],
                                                            FIXTURE_INSTANCE, FIXTURE_BOOT, &id)
                                           : -1;
    if (!settle(w, fd >= 0)) {
        if (fd >= 0) {
            w->f->io->close(fd);
        }
        return false;
    }
    w->writers[which].fd = fd;
    w->writers[which].segment = id;
    w->writers[which].end = 0;
    return true;
}

void workload_begin(struct workload *w, struct fixture *f, uint64_t seed)
{
    *w = (struct workload){.f = f, .random = seed};
    w->alice = fixture_account(f, "alice@example.org", -1);
    w->carol = fixture_account(f, "carol@example.org", -1);
    for (int i = 0; i < WORKLOAD_WRITERS; i++) {
        w->writers[i].fd = -1;
        make_segment(w, i);
    }
    for (int i = 0; i < 2; i++) {
        struct mailbox mailbox;
        settle(w, index_begin(f->index) == 0 &&
                      folder_create(f->index, i == 0 ? w->alice : w->carol, STR("Archive/2023"), 0, f->now_ms,
                                    &mailbox) == FOLDER_DONE);
    }
}

static size_t body_of(int tag, char *out)
{
    size_t len = 60 + (size_t)tag * 7919 % WORKLOAD_BODY;
    int n = snprintf(out, WORKLOAD_BODY + 64, "Subject: T%0*d;\r\n\r\n", DIGITS, tag);
    for (size_t i = (size_t)n; i < len; i++) {
        out[i] = (char)('a' + (i + (size_t)tag) % 26);
    }
    return len;
}

static void add_letter(struct workload *w, struct batch *batch, int slot, bool outside,
                       const unsigned char *grant, struct buf *scratch)
{
    char address[64];
    int tag = w->count++;
    struct letter letter = {.sender = "bob@remote.example",
                            .body = str_make(w->bodies[slot], body_of(tag, w->bodies[slot])),
                            .summary = tag % 5 != 0};
    bool both = !outside && tag % 3 == 0;
    snprintf(address, sizeof(address), "t%0*d@elsewhere.example", DIGITS, tag);
    w->most[tag] = both ? 2 : 1;
    letter.recipients[0] = outside ? address : tag % 2 == 0 ? "alice@example.org" : "carol@example.org";
    letter.recipients[1] = !both ? NULL : tag % 2 == 0 ? "carol@example.org" : "alice@example.org";
    letter.grant = outside ? str_make(grant, GRANT_SIZE) : STR_EMPTY;
    fixture_add(w->f, batch, &letter, scratch);
}

static void pause_faults(struct workload *w, bool begin)
{
    if (w->pause != NULL) {
        w->pause(begin);
    }
}

/* As smtpd and imapd do: nothing more is written to it; what its end holds nobody was promised. */
static void let_go(struct workload *w, int which)
{
    w->failures++;
    w->f->io->close(w->writers[which].fd);
    w->writers[which].fd = -1;
    if (settle(w, workload_apply(w) && index_begin(w->f->index) == 0 &&
                      segment_seal(w->f->index, w->writers[which].segment) == 0)) {
        w->writers[which].segment = 0;
    }
}

static void accept_some(struct workload *w)
{
    unsigned char grant[GRANT_SIZE];
    int which = (int)dice(w, IMAPD);
    int count = 1 + (int)dice(w, 4);
    int first = w->count;
    if (w->count + count > WORKLOAD_MESSAGES || (w->writers[which].fd < 0 && !make_segment(w, which))) {
        return;
    }
    pause_faults(w, true);
    struct batch *batch = batch_new();
    struct buf scratch = buf_make(1 << 20);
    assert_non_null(batch);
    fixture_grant(w->f, ROLE_SMTPD_MSA, FIXTURE_INSTANCE, FIXTURE_BOOT, grant);
    for (int i = 0; i < count; i++) {
        add_letter(w, batch, i, origins[which] == ROLE_SMTPD_MSA && i % 2 == 0, grant, &scratch);
    }
    pause_faults(w, false);
    batch_write(batch, w->f->io, w->writers[which].fd);
    if (batch->result == BATCH_STORED) {
        w->writers[which].end += (int64_t)batch->octets;
        memcpy(&w->least[first], &w->most[first], (size_t)count * sizeof(w->least[0]));
    } else {
        let_go(w, which);
    }
    batch_free(batch);
    buf_free(&scratch);
}

bool workload_apply(struct workload *w)
{
    bool more;
    bool torn;
    struct fixture *f = w->f;
    bool fine = index_begin(f->index) == 0;
    for (int i = 0; i < WORKLOAD_WRITERS && fine; i++) {
        fine =
            w->writers[i].segment == 0 || apply_segment(f->applier, w->writers[i].segment, w->writers[i].end,
                                                        UINT64_MAX, f->now_ms, &more, &torn, &f->counts) == 0;
    }
    return settle(w, fine && apply_finish(f->applier) == 0);
}

static int tag_in(struct str text, const char *before)
{
    size_t at = str_find_str(text, str_of(before));
    uint64_t tag;
    at += strlen(before);
    return at < text.len && str_to_u64(str_sub(text, at, at + DIGITS), WORKLOAD_MESSAGES - 1, &tag) ? (int)tag
                                                                                                    : -1;
}

/* The number of a message; -1 if it cannot be read; -2 if what is read is not what was written. */
static int read_tag(struct workload *w, const struct mailbox *mailbox, uint32_t uid)
{
    static char wanted[WORKLOAD_BODY + 64];
    struct message_place place;
    struct buf text = buf_make(1 << 20);
    int tag = -1;
    if (message_find(w->f->index, mailbox, uid, &place) == 1 &&
        message_read(&w->f->segments, &place, 0, (size_t)place.size + 100, &text) && text.len == place.size) {
        tag = tag_in(buf_str(&text), "Subject: T");
        size_t len = tag < 0 ? 0 : body_of(tag, wanted);
        tag = tag >= 0 && text.len >= len && memcmp(text.data + text.len - len, wanted, len) == 0 ? tag : -2;
    }
    buf_free(&text);
    return tag;
}

static struct str folder_of(struct workload *w)
{
    static const char *const names[] = {"INBOX", "INBOX", "Archive", "Archive/2023", "Sent"};
    return str_of(names[dice(w, sizeof(names) / sizeof(names[0]))]);
}

/* Some neighbouring messages of one mailbox. */
struct some {
    struct mailbox mailbox;
    struct uid_range range;
    int tags[8];
    int count;
};

static bool choose(struct workload *w, int max, struct some *some)
{
    struct mailbox_entry entries[8];
    int64_t account = dice(w, 2) == 0 ? w->alice : w->carol;
    *some = (struct some){.count = 0};
    if (folder_find(w->f->index, account, folder_of(w), &some->mailbox) != 1) {
        return false;
    }
    uint32_t from = 1 + (uint32_t)dice(w, some->mailbox.uid_next);
    int count = mailbox_entries(w->f->index, &some->mailbox, from, entries, 1 + (int)dice(w, (uint64_t)max));
    for (int i = 0; i < count; i++) {
        some->tags[i] = read_tag(w, &some->mailbox, entries[i].uid);
        if (some->tags[i] < 0) {
            return false;
        }
    }
    if (count <= 0) {
        return false;
    }
    some->range = (struct uid_range){entries[0].uid, entries[count - 1].uid};
    some->count = count;
    return true;
}

/* Before a change: what may be the case after it. */
static void expect_change(struct workload *w, const struct some *some, int by)
{
    for (int i = 0; i < some->count; i++) {
        if (by > 0) {
            w->most[some->tags[i]] += by;
        } else {
            w->least[some->tags[i]] += by;
        }
    }
}

/* After its commit: what is the case. */
static void confirm_change(struct workload *w, const struct some *some, int by)
{
    for (int i = 0; i < some->count; i++) {
        if (by > 0) {
            w->least[some->tags[i]] += by;
        } else {
            w->most[some->tags[i]] += by;
        }
    }
}

static void expunge_one(struct workload *w)
{
    struct some some;
    if (!choose(w, 1, &some)) {
        return;
    }
    expect_change(w, &some, -1);
    if (settle(w, index_begin(w->f->index) == 0 &&
                      message_remove(w->f->index, &some.mailbox, some.range.first) == 1 &&
                      mailbox_set(w->f->index, &some.mailbox) == 0)) {
        confirm_change(w, &some, -1);
    }
}

static bool store_flags(struct workload *w, struct some *some, uint64_t flags, enum flags_operation operation)
{
    struct index *index = w->f->index;
    struct account account;
    struct buf all = buf_make(FLAGS_KEYWORDS_OCTETS);
    struct buf refused = buf_make(1 << 16);
    uint64_t bits = 0;
    uint64_t changed = 0;
    bool full;
    bool fine = index_begin(index) == 0 && account_by_id(index, some->mailbox.account, &account) == 1 &&
                flags_keywords(index, &some->mailbox, flags == FLAG_FLAGGED ? STR("$Work ") : STR_EMPTY,
                               &bits, &all, &full) == 0;
    struct flags_change change = {.operation = operation,
                                  .flags = flags | bits,
                                  .unchanged_since = INT64_MAX,
                                  .modseq = account.modseq + 1};
    fine = fine && flags_store(index, &some->mailbox, &change, &some->range, 1, &refused, &changed) == 0 &&
           (changed == 0 || account_count(index, some->mailbox.account, 0, 0, change.modseq) == 0) &&
           mailbox_set(index, &some->mailbox) == 0;
    buf_free(&all);
    buf_free(&refused);
    return settle(w, fine);
}

static void set_flags(struct workload *w)
{
    static const uint64_t flags[] = {FLAG_SEEN, FLAG_FLAGGED, FLAG_ANSWERED, FLAG_SEEN | FLAG_DRAFT};
    struct some some;
    if (choose(w, 8, &some)) {
        store_flags(w, &some, flags[dice(w, 4)], (enum flags_operation)dice(w, 3));
    }
}

/* As mail programs expunge: \Deleted, then EXPUNGE. */
static void expunge_range(struct workload *w)
{
    struct some some;
    if (!choose(w, 8, &some) || !store_flags(w, &some, FLAG_DELETED, FLAGS_ADD)) {
        return;
    }
    struct move_result result = {.source_uids = NULL};
    expect_change(w, &some, -1);
    if (settle(w, index_begin(w->f->index) == 0 && expunge_messages(w->f->index, &some.mailbox, &some.range,
                                                                    1, true, NULL, &result) == 0)) {
        confirm_change(w, &some, -1);
    }
}

static void copy_or_move(struct workload *w)
{
    struct some some;
    struct mailbox other;
    struct move_result result = {.source_uids = NULL};
    if (!choose(w, 4, &some) || folder_find(w->f->index, some.mailbox.account, folder_of(w), &other) != 1) {
        return;
    }
    struct mailbox *to = other.id == some.mailbox.id ? &some.mailbox : &other;
    if (dice(w, 2) == 0) {
        settle(w, index_begin(w->f->index) == 0 && move_messages(w->f->index, &some.mailbox, to, &some.range,
                                                                 1, w->f->now_ms, &result) == 0);
        return;
    }
    expect_change(w, &some, 1);
    if (settle(w, index_begin(w->f->index) == 0 && copy_messages(w->f->index, &some.mailbox, to, &some.range,
                                                                 1, w->f->now_ms, &result) == 0)) {
        confirm_change(w, &some, 1);
    }
}

static bool file_appended(struct workload *w, const struct record_header *header, int64_t offset,
                          struct mailbox *mailbox)
{
    struct index *index = w->f->index;
    struct account account;
    uint32_t uid;
    if (index_begin(index) != 0 || record_keep(index, header, w->writers[IMAPD].segment, offset, 1) != 0 ||
        account_by_id(index, mailbox->account, &account) != 1) {
        return false;
    }
    struct filing filing = {.record = header->id,
                            .recipient = MESSAGE_APPENDED,
                            .size = header->body_len,
                            .internal_ms = w->f->now_ms,
                            .saved_ms = w->f->now_ms,
                            .flags = FLAG_SEEN,
                            .modseq = account.modseq + 1};
    return message_file(index, mailbox, &filing, &uid) == 0 &&
           journal_add(index, &header->id, w->f->now_ms, JOURNAL_FILED, STR("appended")) == 0 &&
           account_count(index, mailbox->account, (int64_t)header->body_len, 1, account.modseq + 1) == 0 &&
           mailbox_set(index, mailbox) == 0;
}

static void append_one(struct workload *w)
{
    struct mailbox mailbox;
    if (w->count == WORKLOAD_MESSAGES || (w->writers[IMAPD].fd < 0 && !make_segment(w, IMAPD)) ||
        folder_find(w->f->index, dice(w, 2) == 0 ? w->alice : w->carol, folder_of(w), &mailbox) != 1) {
        return;
    }
    struct batch *batch = batch_new();
    int tag = w->count++;
    struct record_header header = {.kind = RECORD_APPEND,
                                   .wall_ms = w->f->now_ms,
                                   .id = ident_make(w->f->now_ms, ++w->f->next_id << 16)};
    w->most[tag] = 1;
    w->appended[tag] = true;
    if (batch == NULL || !batch_add(batch, &header, STR_EMPTY, STR_EMPTY, STR_EMPTY,
                                    str_make(w->bodies[0], body_of(tag, w->bodies[0])), NULL)) {
        w->failures++;
        batch_free(batch);
        return;
    }
    batch_write(batch, w->f->io, w->writers[IMAPD].fd);
    int64_t offset = w->writers[IMAPD].end;
    if (batch->result != BATCH_STORED) {
        let_go(w, IMAPD);
    } else {
        w->writers[IMAPD].end += (int64_t)batch->octets;
        w->least[tag] = settle(w, file_appended(w, &header, offset, &mailbox));
    }
    batch_free(batch);
}

/* Sets an annotation of the mailbox, or of the account, and removes one. */
static bool annotate(struct workload *w, int64_t account, struct str name)
{
    struct mailbox mailbox = {.id = 0};
    char text[40];
    int found = folder_find(w->f->index, account, name, &mailbox);
    struct str value =
        str_make(text, (size_t)snprintf(text, sizeof(text), "%llu", (unsigned long long)w->f->now_ms));
    int64_t id = found == 1 ? mailbox.id : 0;
    return found >= 0 && annotation_set(w->f->index, account, id, STR("/private/comment"), &value) == 0 &&
           annotation_set(w->f->index, account, id, STR("/private/gone"),
                          w->f->now_ms % 3 == 0 ? &value : NULL) == 0;
}

/* Gives rights in the mailbox, to somebody or to anyone, or takes them back. */
static bool share(struct workload *w, int64_t account, struct str name)
{
    struct mailbox mailbox;
    int found = folder_find(w->f->index, account, name, &mailbox);
    const struct acl_entry entry = {.grantee = w->f->now_ms % 2 == 0 ? ACL_ANYONE : account ^ 1,
                                    .negative = w->f->now_ms % 5 == 0,
                                    .rights = (uint32_t)w->f->now_ms & RIGHTS_ALL &
                                              (w->f->now_ms % 3 == 0 ? 0 : ~0U)};
    return found == 0 || (found == 1 && acl_set(w->f->index, account, mailbox.id, &entry) == 1);
}

static void change_folders(struct workload *w)
{
    struct index *index = w->f->index;
    struct mailbox mailbox;
    int64_t account = dice(w, 2) == 0 ? w->alice : w->carol;
    enum folder_result result = FOLDER_DONE;
    bool fine = index_begin(index) == 0;
    switch (fine ? dice(w, 5) : 5) {
    case 0:
    case 1: result = folder_create(index, account, folder_of(w), 0, w->f->now_ms, &mailbox); break;
    case 2: result = folder_rename(index, account, STR("Archive"), STR("Sent"), w->f->now_ms); break;
    case 3:
        fine = folder_subscribe(index, account, folder_of(w), dice(w, 2) == 0) == 0 &&
               annotate(w, account, STR("Archive")) && share(w, account, STR("Archive"));
        break;
    case 4:
        /* Only an empty one: what is in it would have to be read first. */
        if (folder_find(index, account, STR("Sent"), &mailbox) == 1 && mailbox.messages == 0) {
            result = folder_delete(index, account, STR("Sent"));
        }
        break;
    default: break;
    }
    settle(w, fine && result != FOLDER_ERROR);
}

static void deliver_or_defer(struct workload *w)
{
    static struct entry entries[50];
    int count = entry_due(w->f->index, w->f->now_ms, entries, 50);
    if (count <= 0) {
        return;
    }
    const struct entry *e = &entries[dice(w, (uint64_t)count)];
    int tag = tag_in(ENTRY_TEXT(e, address), "t");
    if (tag < 0) {
        return;
    }
    if (dice(w, 3) == 0) {
        settle(w, index_begin(w->f->index) == 0 &&
                      entry_defer(w->f->index, e->id, w->f->now_ms + dice(w, 1000), 451, STR("4.7.1"),
                                  STR("later"), STR("mx.example")) == 0);
        return;
    }
    w->least[tag] = 0;
    if (settle(w, index_begin(w->f->index) == 0 && entry_remove(w->f->index, e) == 0)) {
        w->most[tag] = 0;
    }
}

static void change_directory(struct workload *w)
{
    char address[64];
    struct account account;
    snprintf(address, sizeof(address), "user%d@example.org", (int)dice(w, 5));
    bool fine = index_begin(w->f->index) == 0;
    int found = fine ? account_find(w->f->index, str_of(address), &account) : -1;
    switch (dice(w, 4)) {
    case 0:
        fine = found == 0
                   ? account_add(w->f->index, str_of(address), STR("v"), -1, w->f->now_ms, &account) == 0
                   : found == 1;
        break;
    case 1: fine = found == 1 ? account_remove(w->f->index, &account) == 0 : found == 0; break;
    case 2: fine = fine && alias_add(w->f->index, str_of(address), STR("alice@example.org")) == 0; break;
    default: fine = found == 1 ? account_set_quota(w->f->index, account.id, 5000) == 0 : found == 0; break;
    }
    settle(w, fine);
    applier_forget(w->f->applier);
}

static void change_segment(struct workload *w)
{
    int which = (int)dice(w, WORKLOAD_WRITERS);
    if (w->writers[which].segment == 0 || !workload_apply(w)) {
        return;
    }
    if (settle(w,
               index_begin(w->f->index) == 0 && segment_seal(w->f->index, w->writers[which].segment) == 0)) {
        if (w->writers[which].fd >= 0) {
            w->f->io->close(w->writers[which].fd);
        }
        w->writers[which].fd = -1;
        w->writers[which].segment = 0;
        make_segment(w, which);
    }
}

void workload_step(struct workload *w)
{
    w->f->now_ms += dice(w, 20);
    switch (dice(w, 18)) {
    case 0:
    case 1:
    case 2:
    case 3: accept_some(w); break;
    case 4:
    case 5:
    case 6: workload_apply(w); break;
    case 7: expunge_one(w); break;
    case 8: deliver_or_defer(w); break;
    case 9: change_directory(w); break;
    case 10: index_checkpoint(w->f->index); break;
    case 11:
    case 12: set_flags(w); break;
    case 13: expunge_range(w); break;
    case 14: copy_or_move(w); break;
    case 15: append_one(w); break;
    case 16: change_folders(w); break;
    default:
        if (dice(w, 4) == 0) {
            change_segment(w);
        }
        break;
    }
}

void workload_remove(struct workload *w, unsigned percent)
{
    for (int i = 0; i < w->count; i++) {
        if (dice(w, 100) < percent) {
            if (i % 2 == 0) {
                expunge_one(w);
            } else {
                deliver_or_defer(w);
            }
        }
    }
}

void workload_end(struct workload *w)
{
    for (int i = 0; i < WORKLOAD_WRITERS; i++) {
        if (w->writers[i].fd >= 0) {
            w->f->io->close(w->writers[i].fd);
        }
        w->writers[i].fd = -1;
        w->writers[i].segment = 0;
    }
}

bool workload_restart(struct workload *w)
{
    workload_end(w);
    fixture_close_here(w->f);
    fixture_open_here(w->f);
    return fixture_restart(w->f) == 0;
}

struct counting {
    struct workload *w;
    unsigned char *seen;
    int unreadable;
    bool wrong;
};

/* Wrong bytes are worse than none: those that cannot be read are counted apart. */
static bool count_folder(void *context, const struct mailbox *mailbox, struct str name, struct str keywords)
{
    struct counting *c = context;
    static struct mailbox_entry entries[WORKLOAD_MESSAGES];
    (void)name;
    (void)keywords;
    int count = mailbox_entries(c->w->f->index, mailbox, 1, entries, WORKLOAD_MESSAGES);
    c->wrong = c->wrong || count < 0;
    for (int i = 0; i < count; i++) {
        int tag = read_tag(c->w, mailbox, entries[i].uid);
        if (tag < 0) {
            c->wrong = c->wrong || tag == -2;
            c->unreadable++;
        } else {
            c->seen[tag]++;
        }
    }
    return true;
}

static bool count_all(struct workload *w, unsigned char *seen, int *unreadable)
{
    static struct entry entries[WORKLOAD_MESSAGES];
    struct counting counting = {.w = w, .seen = seen};
    memset(seen, 0, WORKLOAD_MESSAGES);
    int count = entry_list(w->f->index, 0, entries, WORKLOAD_MESSAGES);
    for (int i = 0; i < count; i++) {
        int tag = tag_in(ENTRY_TEXT(&entries[i], address), "t");
        if (tag < 0) {
            return false;
        }
        seen[tag]++;
    }
    bool fine = count >= 0 && folder_list(w->f->index, w->alice, count_folder, &counting) == 0 &&
                folder_list(w->f->index, w->carol, count_folder, &counting) == 0;
    *unreadable = counting.unreadable;
    return fine && !counting.wrong;
}

bool workload_check(struct workload *w)
{
    static unsigned char seen[WORKLOAD_MESSAGES];
    int unreadable = 0;
    bool fine = count_all(w, seen, &unreadable) && unreadable == 0;
    if (!fine) {
        print_error("%d messages cannot be read, or bytes are wrong\n", unreadable);
    }
    for (int tag = 0; tag < w->count; tag++) {
        if (seen[tag] < w->least[tag] || seen[tag] > w->most[tag]) {
            print_error("message %d is there %d times; it should be from %d to %d\n", tag, seen[tag],
                        w->least[tag], w->most[tag]);
            fine = false;
        }
    }
    return fine;
}

bool workload_check_bytes(struct workload *w, int *missing, int *missing_appended)
{
    static unsigned char seen[WORKLOAD_MESSAGES];
    int unreadable = 0;
    bool fine = count_all(w, seen, &unreadable);
    *missing = 0;
    *missing_appended = 0;
    for (int tag = 0; tag < w->count; tag++) {
        bool is_missing = seen[tag] == 0 && w->least[tag] > 0;
        *missing += is_missing && !w->appended[tag];
        *missing_appended += is_missing && w->appended[tag];
    }
    return fine;
}
