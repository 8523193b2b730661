/* A store in a directory of its own; see fixture.h. */
#include "fixture.h"

#include "message/summary.h"
#include "store/events.h"
#include "store/flags.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static const char config_text[] = "hostname = \"mail.example.org\"\n"
                                  "domain example.org { }\n"
                                  "domain caught.example { catch_all = \"alice@example.org\" }\n"
                                  "domain relay.example { relay = true }\n";

static void load_config(struct fixture *f, const char *more)
{
    struct buf text = buf_make(1 << 16);
    struct buf errors = buf_make(1 << 16);
    buf_append_str(&text, str_of(config_text));
    buf_append_str(&text, str_of(more));
    if (!config_parse(buf_str(&text), "test", &f->config, &errors)) {
        fail_msg("configuration: %.*s", STR_ARGS(buf_str(&errors)));
    }
    buf_free(&text);
    buf_free(&errors);
}

static bool open_here(struct fixture *f, struct buf *errors)
{
    f->index = index_open("index.db", true, errors);
    if (f->index == NULL) {
        return false;
    }
    if (segments_init(&f->segments, f->io, true) != 0) {
        index_close(f->index);
        return false;
    }
    f->applier = applier_new(f->index, &f->segments, f->key);
    if (f->applier == NULL) {
        segments_close(&f->segments);
        index_close(f->index);
        return false;
    }
    applier_set_config(f->applier, f->config);
    index_note_events(f->index, f->noting);
    f->own = 0;
    f->own_fd = -1;
    return true;
}

bool fixture_try_open(struct fixture *f)
{
    struct buf errors = buf_make(4096);
    bool fine = open_here(f, &errors);
    buf_free(&errors);
    return fine;
}

void fixture_open_here(struct fixture *f)
{
    struct buf errors = buf_make(4096);
    if (!open_here(f, &errors)) {
        fail_msg("%.*s", STR_ARGS(buf_str(&errors)));
    }
    buf_free(&errors);
}

void fixture_close_here(struct fixture *f)
{
    if (f->own_fd >= 0) {
        f->io->close(f->own_fd);
    }
    applier_free(f->applier);
    segments_close(&f->segments);
    index_close(f->index);
}

void fixture_reopen(struct fixture *f)
{
    fixture_close_here(f);
    fixture_open_here(f);
}

void fixture_prepare(struct fixture *f, const char *more)
{
    memset(f, 0, sizeof(*f));
    const char *base = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
    snprintf(f->dir, sizeof(f->dir), "%s/veredus-store-XXXXXX", base);
    assert_non_null(mkdtemp(f->dir));
    assert_int_equal(chdir(f->dir), 0);
    f->io = &io_system;
    f->now_ms = 1700000000000;
    memset(f->key, 42, sizeof(f->key));
    load_config(f, more == NULL ? "" : more);
    f->batch = batch_new();
    assert_non_null(f->batch);
}

void fixture_open(struct fixture *f, const char *more)
{
    fixture_prepare(f, more);
    fixture_open_here(f);
}

void fixture_drop_own(struct fixture *f)
{
    if (f->own_fd >= 0) {
        f->io->close(f->own_fd);
    }
    f->own_fd = -1;
    f->own = 0;
}

static bool make_own(struct fixture *f)
{
    if (f->own == 0) {
        f->own_fd = segment_create(&f->segments, f->index, ROLE_STORE, 0, FIXTURE_BOOT, &f->own);
        f->own_end = 0;
        if (f->own_fd < 0) {
            f->own = 0;
            return false;
        }
    }
    return true;
}

bool fixture_append(void *context, struct batch *batch, int64_t *segment, int64_t *offset)
{
    struct fixture *f = context;
    bool more;
    bool torn;
    if (!make_own(f)) {
        return false;
    }
    *segment = f->own;
    *offset = f->own_end;
    batch_write(batch, f->io, f->own_fd);
    if (batch->result != BATCH_STORED) {
        fixture_drop_own(f);
        return false;
    }
    f->own_end += (int64_t)batch->octets;
    return apply_segment(f->applier, f->own, f->own_end, UINT64_MAX, f->now_ms, &more, &torn, &f->counts) ==
           0;
}

static bool write_events(struct fixture *f)
{
    struct str body;
    int64_t segment;
    int64_t offset;
    struct record_header header = {.wall_ms = f->now_ms};
    batch_clear(f->batch);
    if (!make_own(f) || events_take(f->index, &header, &body) != 0 ||
        !batch_add(f->batch, &header, STR_EMPTY, STR_EMPTY, STR_EMPTY, body, NULL)) {
        return false;
    }
    bool fine = fixture_append(f, f->batch, &segment, &offset);
    batch_clear(f->batch);
    return fine;
}

int fixture_commit(struct fixture *f)
{
    bool is_new = f->own == 0;
    if ((!f->noting || !events_pending(f->index) || write_events(f)) && index_commit(f->index) == 0) {
        return 0;
    }
    index_rollback(f->index);
    apply_abort(f->applier);
    if (is_new) {
        fixture_drop_own(f); /* its row went with the transaction */
    }
    return -1;
}

int fixture_restart(struct fixture *f)
{
    static struct segment_info infos[1000];
    int count = segment_list(f->index, infos, 1000);
    if (count < 0 || index_begin(f->index) != 0) {
        return -1;
    }
    for (int i = 0; i < count; i++) {
        bool more;
        bool torn;
        if (infos[i].sealed) {
            continue;
        }
        if (apply_segment(f->applier, infos[i].id, INT64_MAX, UINT64_MAX, f->now_ms, &more, &torn,
                          &f->counts) != 0 ||
            apply_finish(f->applier) != 0 || segment_seal(f->index, infos[i].id) != 0) {
            index_rollback(f->index);
            apply_abort(f->applier);
            return -1;
        }
    }
    return fixture_commit(f);
}

void fixture_remove(const char *dir)
{
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *list = fd < 0 ? NULL : fdopendir(fd);
    if (list == NULL) {
        return;
    }
    for (struct dirent *entry = readdir(list); entry != NULL; entry = readdir(list)) {
        if (entry->d_type == DT_DIR && entry->d_name[0] != '.') {
            char path[512];
            snprintf(path, sizeof(path), "%s/%s", dir, entry->d_name);
            fixture_remove(path);
        } else if (entry->d_type != DT_DIR) {
            unlinkat(fd, entry->d_name, 0);
        }
    }
    closedir(list);
    rmdir(dir);
}

void fixture_close(struct fixture *f)
{
    fixture_close_here(f);
    batch_free(f->batch);
    config_unref(f->config);
    assert_int_equal(chdir("/"), 0);
    fixture_remove(f->dir);
}

int64_t fixture_account(struct fixture *f, const char *address, int64_t quota)
{
    struct account account;
    assert_int_equal(index_begin(f->index), 0);
    assert_int_equal(account_add(f->index, str_of(address), STR("v"), quota, f->now_ms, &account), 0);
    assert_int_equal(fixture_commit(f), 0);
    applier_forget(f->applier);
    return account.id;
}

void fixture_alias(struct fixture *f, const char *address, const char *target)
{
    assert_int_equal(index_begin(f->index), 0);
    assert_int_equal(alias_add(f->index, str_of(address), str_of(target)), 0);
    assert_int_equal(fixture_commit(f), 0);
    applier_forget(f->applier);
}

int fixture_segment(struct fixture *f, int origin, int64_t *id)
{
    assert_int_equal(index_begin(f->index), 0);
    int fd = segment_create(&f->segments, f->index, origin, FIXTURE_INSTANCE, FIXTURE_BOOT, id);
    assert_true(fd >= 0);
    assert_int_equal(fixture_commit(f), 0);
    return fd;
}

static void encode(const struct letter *letter, struct buf *out)
{
    struct record_envelope e = {.sender = str_of(letter->sender == NULL ? "" : letter->sender),
                                .envelope_id = STR_EMPTY,
                                .grant = letter->grant.data == NULL ? STR_EMPTY : letter->grant,
                                .login = STR_EMPTY,
                                .client = STR("192.0.2.1"),
                                .helo = STR("client.example"),
                                .tls = STR_EMPTY,
                                .retires = letter->retires.data == NULL ? STR_EMPTY : letter->retires};
    while (e.recipient_count < FIXTURE_RECIPIENTS && letter->recipients[e.recipient_count] != NULL) {
        e.recipient_count++;
    }
    uint32_t count = e.recipient_count;
    if (letter->lie_count != 0) {
        e.recipient_count = letter->lie_count;
    }
    assert_true(record_encode_envelope(&e, out));
    for (uint32_t i = 0; i < count; i++) {
        struct record_recipient r = {.address = str_of(letter->recipients[i]), .original = STR_EMPTY};
        assert_true(record_encode_recipient(&r, out));
    }
}

static const struct str trace = {"Received: from test\r\n", 21};

static void summarise(const struct letter *letter, struct buf *section)
{
    struct mime mime = {.parts = NULL};
    struct buf encoded = buf_make(SUMMARY_MAX);
    assert_true(mime_parse(&mime, letter->body) && summary_encode(&mime, trace, &encoded) &&
                record_encode_summary(buf_str(&encoded), section));
    mime_free(&mime);
    buf_free(&encoded);
}

struct ident fixture_add(struct fixture *f, struct batch *batch, const struct letter *letter,
                         struct buf *scratch)
{
    static const struct ident none;
    struct record_header header = {.kind = letter->kind == 0 ? RECORD_MESSAGE : letter->kind,
                                   .wall_ms = f->now_ms};
    header.id = memcmp(&letter->id, &none, sizeof(none)) == 0 ? ident_make(f->now_ms, ++f->next_id << 16)
                                                              : letter->id;
    buf_clear(scratch);
    encode(letter, scratch);
    struct buf section = buf_make(RECORD_SUMMARY_MAX);
    if (letter->summary) {
        summarise(letter, &section);
    }
    assert_true(batch_add(batch, &header, buf_str(&section), buf_str(scratch), trace, letter->body, NULL));
    buf_free(&section);
    return header.id;
}

struct ident fixture_write(struct fixture *f, int fd, const struct letter *letter)
{
    struct batch *batch = batch_new();
    struct buf scratch = buf_make(1 << 20);
    assert_non_null(batch);
    struct ident id = fixture_add(f, batch, letter, &scratch);
    batch_write(batch, f->io, fd);
    assert_int_equal(batch->result, BATCH_STORED);
    batch_free(batch);
    buf_free(&scratch);
    return id;
}

int fixture_apply(struct fixture *f, int64_t segment)
{
    bool more;
    bool torn;
    if (index_begin(f->index) == 0 &&
        apply_segment(f->applier, segment, INT64_MAX, UINT64_MAX, f->now_ms, &more, &torn, &f->counts) == 0 &&
        apply_finish(f->applier) == 0) {
        return fixture_commit(f);
    }
    index_rollback(f->index);
    apply_abort(f->applier);
    return -1;
}

void fixture_grant(struct fixture *f, uint32_t kind, uint32_t instance, uint64_t boot,
                   unsigned char out[GRANT_SIZE])
{
    struct grant grant = {
        .account = 1, .issued_ms = f->now_ms, .instance = instance, .kind = kind, .boot = boot};
    grant_make(&grant, f->key, out);
}

int64_t fixture_count(struct fixture *f, int64_t account)
{
    struct mailbox mailbox = {.account = account, .id = MAILBOX_INBOX};
    return mailbox_count(f->index, &mailbox);
}

bool fixture_read(struct fixture *f, int64_t account, uint32_t uid, struct buf *out)
{
    struct mailbox mailbox = {.account = account, .id = MAILBOX_INBOX};
    struct message_place place;
    return message_find(f->index, &mailbox, uid, &place) == 1 &&
           message_read(&f->segments, &place, 0, (size_t)place.size + 100, out) && out->len == place.size;
}

struct wanted {
    enum journal_event event;
    struct str text;
    bool found;
};

static bool look(void *context, const struct journal_row *row)
{
    struct wanted *wanted = context;
    wanted->found =
        wanted->found || (row->event == wanted->event && str_find_str(row->text, wanted->text) != SIZE_MAX);
    return true;
}

bool fixture_journal(struct fixture *f, const struct ident *id, enum journal_event event, const char *text)
{
    struct wanted wanted = {.event = event, .text = str_of(text)};
    assert_int_equal(journal_of(f->index, id, look, &wanted), 0);
    return wanted.found;
}

int64_t fixture_sql(struct fixture *f, const char *sql)
{
    sqlite3_stmt *q = NULL;
    assert_int_equal(sqlite3_prepare_v2(f->index->db, sql, -1, &q, NULL), SQLITE_OK);
    int64_t value = sqlite3_step(q) == SQLITE_ROW ? sqlite3_column_int64(q, 0) : INT64_MIN;
    sqlite3_finalize(q);
    return value;
}

static bool put_flags(void *context, uint32_t uid, uint64_t flags, uint64_t modseq)
{
    return buf_printf(context, "uid %u flags %llx modseq %llu\n", uid, (unsigned long long)flags,
                      (unsigned long long)modseq);
}

static void put_rows(struct fixture *f, const char *query, struct buf *out)
{
    sqlite3_stmt *q = NULL;
    assert_int_equal(sqlite3_prepare_v2(f->index->db, query, -1, &q, NULL), SQLITE_OK);
    while (sqlite3_step(q) == SQLITE_ROW) {
        for (int c = 0; c < sqlite3_column_count(q); c++) {
            buf_append_str(out, sql_get_text(q, c));
            buf_append_char(out, '|');
        }
        buf_append_char(out, '\n');
    }
    sqlite3_finalize(q);
}

void fixture_picture(struct fixture *f, const char *more, struct buf *out)
{
    static const char *const queries[] = {
        "SELECT account, address, verifier, state, quota, used_octets, used_messages, created_ms FROM "
        "account ORDER BY 1",
        "SELECT address, target FROM alias ORDER BY 1, 2",
        "SELECT account, mailbox, name, uid_validity, uid_next, modseq, messages, unseen, deleted, octets, "
        "recent_uid, "
        "special_use, keywords FROM mailbox ORDER BY 1, 2",
        "SELECT account, name FROM subscription ORDER BY 1, 2",
        "SELECT account, mailbox, entry, value FROM annotation ORDER BY 1, 2, 3",
        "SELECT account, mailbox, grantee, negative, rights FROM acl ORDER BY 1, 2, 3, 4",
        "SELECT account, mailbox, uid, hex(record), recipient, size, internal_ms, saved_ms FROM message "
        "ORDER BY 1, 2, 3",
        "SELECT hex(record), segment, place, octets, refs FROM record ORDER BY 1",
        "SELECT * FROM segment ORDER BY 1",
        "SELECT hex(record), recipient, address, domain, state, due_ms, attempts, first_ms, notified, code, "
        "enhanced, "
        "reply, host FROM queue ORDER BY 1, 3",
        "SELECT name, value FROM meta ORDER BY 1"};
    for (size_t i = 0; i < sizeof(queries) / sizeof(queries[0]); i++) {
        put_rows(f, queries[i], out);
    }
    if (more != NULL) {
        put_rows(f, more, out);
    }
    struct mailbox boxes[64];
    int count = 0;
    sqlite3_stmt *q = sql_prepare(f->index, SQL_MAILBOX_ALL);
    while (count < 64 && sql_row(f->index, q)) {
        mailbox_read_row(q, &boxes[count++]);
    }
    sql_done(q);
    for (int i = 0; i < count; i++) {
        buf_printf(out, "mailbox %d\n", (int)boxes[i].id);
        assert_int_equal(flags_each(f->index, &boxes[i], 1, 0, put_flags, out), 0);
    }
    assert_true(buf_ok(out));
}

void fixture_damage(int64_t segment, int64_t at)
{
    char name[64];
    unsigned char octet;
    snprintf(name, sizeof(name), "segments/%016llx.log", (unsigned long long)segment);
    int fd = open(name, O_RDWR | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(pread(fd, &octet, 1, at), 1);
    octet ^= 0x10;
    assert_int_equal(pwrite(fd, &octet, 1, at), 1);
    close(fd);
}
