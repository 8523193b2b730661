/*
 * Mail from another server, by `veredus import`; part of the store's control socket. The command reads the files and sends the text
 * of many messages at once in a descriptor; here they become records of the store's own segment and rows of a mailbox, in one
 * transaction. A message's id is made by the command from where it comes from, so what is there already is known again.
 */
#include "roles/store_admin_private.h"

#include "base/clock.h"
#include "base/mem.h"
#include "store/batch.h"
#include "store/flags.h"
#include "store/folder.h"

#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

enum { IMPORT_MESSAGES_MAX = 512 };

/* Higher ones would leave a mailbox too few for what is to come: such messages get new ones. */
#define UID_MAX 0xf0000000U

/* One message of a request. */
struct imported {
    struct ident id;
    size_t offset; /* in the text */
    size_t octets;
    uint32_t uid; /* at the server it comes from; 0: none */
    uint64_t flags;
    uint64_t internal_ms;
    struct str keywords;
    size_t item; /* its place in the batch */
};

struct import {
    struct account account;
    struct mailbox mailbox;
    bool keeps_uids;
    struct buf text;
    struct imported messages[IMPORT_MESSAGES_MAX];
    size_t count;
    uint64_t filed;
    uint64_t present;
    uint64_t renumbered;
    uint64_t octets;
    bool keywords_full;
};

static bool name_is_valid(struct str name)
{
    bool fine = name.len > 0 && name.len <= FOLDER_NAME_MAX && str_is_utf8(name);
    for (size_t i = 0; fine && i < name.len; i++) {
        unsigned char c = (unsigned char)name.data[i];
        bool empty_part = c == '/' && (i == 0 || i + 1 == name.len || name.data[i + 1] == '/');
        fine = c >= 0x20 && c != 0x7f && !empty_part;
    }
    return fine;
}

/* The account and the mailbox's name; false after an answer. */
static bool take_target(struct admin_connection *c, const json_t *arguments, struct account *account,
                        struct str *name)
{
    *name = admin_argument(arguments, "mailbox");
    if (!admin_take_account(c, arguments, account)) {
        return false;
    }
    if (str_equal_nocase(*name, STR("INBOX"))) {
        *name = STR("INBOX");
    }
    if (name_is_valid(*name)) {
        return true;
    }
    admin_error(
        c, EX_DATAERR,
        "a name is UTF-8 of 1 to 1000 octets without control characters; \"/\" stands between its parts",
        "this is no name for a mailbox");
    return false;
}

static uint64_t number(const json_t *value, uint64_t max)
{
    json_int_t n = json_is_integer(value) ? json_integer_value(value) : 0;
    return n < 0 || (uint64_t)n > max ? 0 : (uint64_t)n;
}

static uint32_t uid_argument(const json_t *arguments, const char *name)
{
    return (uint32_t)number(json_object_get(arguments, name), UID_MAX);
}

static bool finish(struct admin_connection *c, bool fine)
{
    struct store *s = c->admin->store;
    if (fine && store_commit(s)) {
        return true;
    }
    if (s->index->in_transaction) {
        store_rollback(s);
    }
    admin_index_error(c);
    return false;
}

/* Makes the mailbox if it is missing, and gives it the numbers that it had, if it can have them. */
static int prepare_mailbox(struct store *s, const json_t *arguments, struct account *account, struct str name,
                           struct mailbox *mailbox, bool *kept)
{
    uint32_t next = uid_argument(arguments, "next");
    int found = folder_find(s->index, account->id, name, mailbox);
    if (found == 0 &&
        folder_create(s->index, account->id, name, 0, clock_wall_ms(), mailbox) != FOLDER_DONE) {
        return -1;
    }
    int adopted = found < 0 ? -1 : folder_adopt(s->index, mailbox, uid_argument(arguments, "validity"));
    *kept = adopted == 1;
    if (adopted < 0) {
        return -1;
    }
    if (*kept && next > mailbox->uid_next) {
        mailbox->uid_next = next;
        if (mailbox_set(s->index, mailbox) != 0) {
            return -1;
        }
    }
    bool subscribe = json_is_true(json_object_get(arguments, "subscribe"));
    return subscribe ? folder_subscribe(s->index, account->id, name, true) : 0;
}

void admin_import_mailbox(struct admin_connection *c, const json_t *arguments)
{
    struct store *s = c->admin->store;
    struct account account;
    struct mailbox mailbox;
    struct str name;
    bool kept = false;
    if (!take_target(c, arguments, &account, &name)) {
        return;
    }
    if (!store_begin(s)) {
        admin_index_error(c);
        return;
    }
    if (finish(c, prepare_mailbox(s, arguments, &account, name, &mailbox, &kept) == 0)) {
        admin_done(c, json_pack("{s:I,s:I,s:b}", "validity", (json_int_t)mailbox.uid_validity, "next",
                                (json_int_t)mailbox.uid_next, "kept", (int)kept));
    }
}

/* Messages. */

/* [octets, uid, flags, internal_ms, id, keywords] */
static bool take_message(const json_t *row, size_t *offset, struct imported *m)
{
    const json_t *id = json_array_get(row, 4);
    const json_t *keywords = json_array_get(row, 5);
    *m = (struct imported){.offset = *offset,
                           .octets = number(json_array_get(row, 0), RECORD_TOTAL_MAX),
                           .uid = (uint32_t)number(json_array_get(row, 1), UID_MAX),
                           .flags = number(json_array_get(row, 2), FLAG_ANSWERED | FLAG_FLAGGED |
                                                                       FLAG_DELETED | FLAG_SEEN | FLAG_DRAFT),
                           .internal_ms = number(json_array_get(row, 3), INT64_MAX),
                           .keywords = STR_EMPTY};
    *offset += m->octets;
    if (json_is_string(keywords)) {
        m->keywords = str_make(json_string_value(keywords), json_string_length(keywords));
    }
    return json_is_string(id) && ident_parse(str_make(json_string_value(id), json_string_length(id)), &m->id);
}

/* False after an answer. */
static bool take_messages(struct admin_connection *c, const json_t *arguments, struct import *import)
{
    const json_t *rows = json_object_get(arguments, "messages");
    struct stat info = {.st_size = 0};
    size_t total = 0;
    bool fine = json_array_size(rows) <= IMPORT_MESSAGES_MAX;
    for (size_t i = 0; fine && i < json_array_size(rows); i++) {
        fine = take_message(json_array_get(rows, i), &total, &import->messages[i]);
        import->count++;
    }
    /* A file of the command, whole before it is named: it may not grow, and reading it does not wait. */
    if (!fine || c->passed_fd < 0 || fstat(c->passed_fd, &info) != 0 || !S_ISREG(info.st_mode) ||
        (uint64_t)info.st_size != total) {
        admin_error(c, EX_USAGE,
                    "the command and the server may be of different versions; `veredus version` tells",
                    "the messages are not as they were announced");
        return false;
    }
    import->text = buf_make(total);
    char *room = total == 0 ? NULL : buf_reserve(&import->text, total);
    while (room != NULL && import->text.len < total) {
        ssize_t n =
            pread(c->passed_fd, room + import->text.len, total - import->text.len, (off_t)import->text.len);
        if (n <= 0) {
            break;
        }
        import->text.len += (size_t)n;
    }
    if (import->text.len != total) {
        admin_error(c, EX_TEMPFAIL, "try again; what has been imported is known again",
                    "the messages cannot be read");
        return false;
    }
    return true;
}

/*
 * Whether it came with an earlier run. Its UID would not tell: a message without one may have taken it. What has been expunged
 * since is not known any more and comes back, which is better than that something is missing.
 */
static int is_present(struct store *s, const struct imported *m)
{
    sqlite3_stmt *q = sql_prepare(s->index, SQL_RECORD_GET);
    if (q == NULL) {
        return -1;
    }
    sql_blob(q, 1, m->id.bytes, IDENT_SIZE);
    s->index->error[0] = '\0';
    if (sql_row(s->index, q)) {
        sql_done(q);
        return 1;
    }
    return s->index->error[0] == '\0' ? 0 : -1;
}

/* Keeps in import->messages those that are new, and has them in the batch. */
static int fill_batch(struct store *s, struct import *import)
{
    size_t kept = 0;
    batch_clear(s->own_batch);
    for (size_t i = 0; i < import->count; i++) {
        struct imported m = import->messages[i];
        struct record_header header = {.kind = RECORD_APPEND, .id = m.id, .wall_ms = clock_wall_ms()};
        struct str body = str_sub(buf_str(&import->text), m.offset, m.offset + m.octets);
        int present = is_present(s, &m);
        for (size_t k = 0; present == 0 && k < kept; k++) {
            present = memcmp(import->messages[k].id.bytes, m.id.bytes, IDENT_SIZE) == 0;
        }
        if (present != 0) {
            import->present++;
        } else {
            m.item = s->own_batch->count;
            import->messages[kept++] = m;
        }
        if (present < 0 || (present == 0 &&
                            !batch_add(s->own_batch, &header, STR_EMPTY, STR_EMPTY, STR_EMPTY, body, NULL))) {
            return -1;
        }
    }
    import->count = kept;
    return 0;
}

static int file_one(struct store *s, struct import *import, const struct imported *m, int64_t segment,
                    int64_t offset)
{
    struct record_header header;
    struct mailbox *mailbox = &import->mailbox;
    const struct batch_item *item = &s->own_batch->items[m->item];
    struct buf all = buf_make(FLAGS_KEYWORDS_OCTETS);
    uint64_t bits;
    uint32_t uid;
    bool full;
    if (record_decode_header(item->header, &header) != RECORD_GOOD ||
        record_keep(s->index, &header, segment, offset + (int64_t)item->at, 1) != 0 ||
        flags_keywords(s->index, mailbox, m->keywords, &bits, &all, &full) != 0) {
        buf_free(&all);
        return -1;
    }
    buf_free(&all);
    import->keywords_full = import->keywords_full || full;
    if (import->keeps_uids && m->uid >= mailbox->uid_next) {
        mailbox->uid_next = m->uid; /* the next that is given */
    } else if (m->uid != 0) {
        import->renumbered++;
    }
    struct filing filing = {.record = m->id,
                            .recipient = MESSAGE_APPENDED,
                            .size = m->octets,
                            .internal_ms = m->internal_ms == 0 ? header.wall_ms : m->internal_ms,
                            .saved_ms = header.wall_ms,
                            .flags = m->flags | bits,
                            .modseq = import->account.modseq + 1};
    if (message_file(s->index, mailbox, &filing, &uid) != 0) {
        return -1;
    }
    char area[64];
    struct buf text = {.data = area, .cap = sizeof(area), .limit = sizeof(area)};
    buf_append_lit(&text, "uid=");
    buf_append_u64(&text, uid);
    buf_append_lit(&text, " by=import");
    import->filed++;
    import->octets += m->octets;
    return journal_add(s->index, &m->id, header.wall_ms, JOURNAL_FILED, buf_str(&text));
}

/* Within a transaction. 1; 0: there is no such mailbox; -1: roll back. */
static int file_all(struct store *s, struct import *import, struct str name, uint32_t validity)
{
    int64_t segment;
    int64_t offset;
    int found = folder_find(s->index, import->account.id, name, &import->mailbox);
    if (found <= 0) {
        return found;
    }
    import->keeps_uids = validity != 0 && validity == import->mailbox.uid_validity;
    if (fill_batch(s, import) != 0) {
        return -1;
    }
    if (import->count == 0) {
        return 1;
    }
    if (!store_segments_write_batch(s, &segment, &offset)) {
        return -1;
    }
    for (size_t i = 0; i < import->count; i++) {
        if (file_one(s, import, &import->messages[i], segment, offset) != 0) {
            return -1;
        }
    }
    return account_count(s->index, import->account.id, (int64_t)import->octets, (int64_t)import->filed,
                         import->account.modseq + 1) == 0 &&
                   mailbox_set(s->index, &import->mailbox) == 0
               ? 1
               : -1;
}

static void run_import(struct admin_connection *c, const json_t *arguments, struct import *import,
                       struct str name)
{
    struct store *s = c->admin->store;
    if (!s->accepting) {
        admin_error(c, EX_TEMPFAIL,
                    "make room, or lower store.reserve in the configuration; then run the import again",
                    "the disk is nearly full: %lld MiB are free", (long long)(s->free_octets >> 20));
        return;
    }
    if (!take_messages(c, arguments, import)) {
        return;
    }
    if (!store_begin(s)) {
        admin_index_error(c);
        return;
    }
    int result = account_by_id(s->index, import->account.id, &import->account) == 1
                     ? file_all(s, import, name, uid_argument(arguments, "validity"))
                     : -1;
    batch_clear(s->own_batch);
    if (result == 0) {
        index_rollback(s->index);
        admin_error(c, EX_DATAERR, "run the import again", "the mailbox has been removed meanwhile");
    } else if (finish(c, result == 1)) {
        admin_done(c, json_pack("{s:I,s:I,s:I,s:b}", "filed", (json_int_t)import->filed, "present",
                                (json_int_t)import->present, "renumbered", (json_int_t)import->renumbered,
                                "keywords_full", (int)import->keywords_full));
    }
}

void admin_import_messages(struct admin_connection *c, const json_t *arguments)
{
    struct str name;
    struct import *import = mem_new(struct import);
    if (import == NULL) {
        admin_error(c, EX_TEMPFAIL, "try again in a moment", "the server has no memory for this");
        return;
    }
    if (take_target(c, arguments, &import->account, &name)) {
        run_import(c, arguments, import, name);
    }
    buf_free(&import->text);
    mem_free(import);
}
