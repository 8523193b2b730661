/*
 * An imapd that has been taken over (goals G18 and G19): it has the grant of one account and says of mailboxes of another whatever
 * its messages can carry. Store and reader as they are, each change and each question with every combination of a few rights:
 * what the right is for is done, nothing else changes anything, and what may not be seen is not there.
 */
#include "config/config.h"
#include "ipc/proto_change.h"
#include "roles/reader_private.h"
#include "roles/store_private.h"
#include "store/acl.h"
#include "store/batch.h"
#include "store/folder.h"
#include "store/verify.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

enum { ATTACKER = 1, VICTIM = 2, BOOT = 7, INSTANCE = 3, NOW_MS = 1700000000 };

static const char text[] = "Subject: secret\r\n\r\nWhat only its owner reads\r\n";
static const char settings[] = "hostname = \"mail.example.org\"\ndomain example.org { }\n"
                               "store { apply_interval = 1 reserve = 0 }\n";

static struct loop *loop;
static struct role store_role;
static struct role reader_role;
static struct role_peer store_peer;
static struct role_peer reader_peer;
static unsigned char key[GRANT_KEY_SIZE];
static struct store *store;

/* What the roles have said to imapd since it was last forgotten. */
static struct {
    int result; /* of a change or a question; -1: there was no answer */
    uint64_t handle;
    unsigned news;
    unsigned messages; /* or flags, entries, annotations, rights */
    struct buf names;  /* of rows, each ended by a line's end */
    uint64_t counted;  /* messages of rows */
} heard;

/* The life of a role, as role.c has it, without processes. */

struct role_peer *role_peer_of(struct role *role, enum role_kind kind)
{
    return role_peer_find(role, kind, INSTANCE);
}

struct role_peer *role_peer_find(struct role *role, enum role_kind kind, uint32_t instance)
{
    return role->peers != NULL && kind == ROLE_IMAPD && instance == INSTANCE ? role->peers : NULL;
}

bool role_send(struct role_peer *peer, const struct ipc_type *type, const void *message)
{
    if (peer == NULL) {
        return false;
    }
    if (type == &mailbox_changed_type) {
        heard.result = ((const struct mailbox_changed *)message)->result;
    } else if (type == &mailbox_opened_type) {
        const struct mailbox_opened *opened = message;
        heard.result = opened->result;
        heard.handle = opened->handle;
    } else if (type == &mailbox_end_type) {
        heard.result = ((const struct mailbox_end *)message)->result;
    } else if (type == &mailbox_flags_type) {
        heard.result = ((const struct mailbox_flags *)message)->result;
        heard.messages += ((const struct mailbox_flags *)message)->runs.len > 0;
    } else if (type == &mailbox_entries_type) {
        heard.result = ((const struct mailbox_entries *)message)->result;
        heard.messages += ((const struct mailbox_entries *)message)->entries.len > 0;
    } else if (type == &mailbox_news_type) {
        heard.news++;
    } else if (type == &mailbox_row_type) {
        const struct mailbox_row *row = message;
        buf_append_str(&heard.names, row->exists ? row->name : STR_EMPTY);
        buf_append_char(&heard.names, '\n');
        heard.counted += str_starts(row->name, STR(OTHER_USERS)) ? row->messages : 0;
    } else {
        heard.messages++;
    }
    return true;
}

uint64_t role_boot(const struct role *role)
{
    (void)role;
    return BOOT;
}

bool role_enter_data_dir(const struct role *role)
{
    return chdir(role->data_dir) == 0;
}

bool role_become_user(const struct role *role)
{
    (void)role;
    return true;
}

bool role_become_starter(const struct role *role)
{
    (void)role;
    return true;
}

void role_drained(struct role *role, uint32_t cut)
{
    (void)role;
    (void)cut;
}

bool role_read_fd(int fd, size_t limit, struct buf *out)
{
    char *room = buf_reserve(out, limit);
    ssize_t n = room == NULL ? -1 : pread(fd, room, limit, 0);
    out->len += n > 0 ? (size_t)n : 0;
    close(fd);
    return n >= 0;
}

static void hear_nothing(void *context, struct channel *channel, const struct ipc_type *type,
                         const void *message, int fd)
{
    (void)context;
    (void)channel;
    (void)type;
    (void)message;
    (void)fd;
}

static void ended(void *context, struct channel *channel, const char *reason)
{
    (void)context;
    (void)channel;
    (void)reason;
}

static struct channel *connect_to(const struct ipc_receives *receives)
{
    static const struct channel_handler handler = {.message = hear_nothing, .closed = ended};
    int pair[2];
    assert_int_equal(channel_pair(pair), 0);
    struct channel *channel = channel_open(loop, pair[0], receives, &handler, NULL, "test");
    assert_non_null(channel);
    return channel;
}

static void begin_role(struct role *role, struct role_peer *peer, const struct role_module *module,
                       const struct ipc_receives *receives, char *dir)
{
    struct buf errors = buf_make(65536);
    int fd = memfd_create("key", MFD_CLOEXEC);
    *role = (struct role){
        .module = module, .kind = module->kind, .instance = 1, .data_dir = dir, .loop = loop, .peers = peer};
    *peer = (struct role_peer){
        .role = role, .kind = ROLE_IMAPD, .instance = INSTANCE, .channel = connect_to(receives)};
    role->control = connect_to(&control_to_role);
    assert_true(config_parse(str_of(settings), "test", &role->config, &errors));
    assert_true(fd >= 0 && write(fd, key, sizeof(key)) == sizeof(key));
    module->secret(role, SECRET_GRANT_KEY, STR_EMPTY, fd);
    assert_int_equal(module->prepare(role), 0);
    assert_int_equal(module->start(role), 0);
    buf_free(&errors);
}

static int64_t make_account(const char *address)
{
    struct account account;
    assert_true(store_begin(store));
    assert_int_equal(account_add(store->index, str_of(address), STR("v"), -1, NOW_MS, &account), 0);
    assert_true(store_commit(store));
    return account.id;
}

static int set_up(void **state)
{
    static char dir[64];
    (void)state;
    /* In memory, where that can be had: there is a flush for each of thousands of changes. */
    snprintf(dir, sizeof(dir), "%s/veredus-access-XXXXXX",
             access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    memset(key, 5, sizeof(key));
    loop = loop_new();
    heard.names = buf_make(1 << 20);
    if (loop == NULL || mkdtemp(dir) == NULL || chdir(dir) != 0) {
        return -1;
    }
    begin_role(&store_role, &store_peer, &role_store, &change_to_store, dir);
    store = store_role.data;
    assert_int_equal(make_account("eve@example.org"), ATTACKER);
    assert_int_equal(make_account("ann@example.org"), VICTIM);
    begin_role(&reader_role, &reader_peer, &role_reader, &mailbox_to_reader, dir);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    char command[100];
    buf_free(&heard.names);
    char here[64];
    snprintf(command, sizeof(command), "rm -rf '%s'", getcwd(here, sizeof(here)) == NULL ? "" : here);
    return chdir("/") == 0 && system(command) == 0 ? 0 : -1;
}

static struct str grant_of(uint64_t account)
{
    static char bytes[3][GRANT_SIZE];
    const struct grant grant = {
        .account = account, .issued_ms = NOW_MS, .instance = INSTANCE, .kind = ROLE_IMAPD, .boot = BOOT};
    grant_make(&grant, key, (unsigned char *)bytes[account]);
    return str_make(bytes[account], GRANT_SIZE);
}

/* Mailboxes. */

static struct mailbox find(int64_t account, const char *name)
{
    struct mailbox mailbox;
    assert_int_equal(folder_find(store->index, account, str_of(name), &mailbox), 1);
    return mailbox;
}

static void give(const char *name, uint32_t rights)
{
    const struct acl_entry entry = {.grantee = ATTACKER, .rights = rights};
    assert_true(store_begin(store));
    assert_int_equal(acl_set(store->index, VICTIM, find(VICTIM, name).id, &entry), 1);
    assert_true(store_commit(store));
}

static int ask_change(struct mailbox_change ask)
{
    heard.result = -1;
    ask.ticket = 1;
    store_role.module->peer_message(&store_role, &store_peer, &mailbox_change_type, &ask, -1);
    assert_true(store_tick(store));
    return heard.result;
}

/* The segment that imapd writes. */
static int64_t segment;
static int64_t offset;

/* Appends a message, as an imapd may that has this grant. */
static int append(uint64_t account, const char *name, uint64_t flags)
{
    static int fd;
    static uint64_t number;
    if (segment == 0) {
        assert_true(store_begin(store));
        fd = segment_create(&store->segments, store->index, ROLE_IMAPD, INSTANCE, BOOT, &segment);
        assert_true(fd >= 0 && store_commit(store));
    }
    struct batch *batch = batch_new();
    struct record_header header = {
        .kind = RECORD_APPEND, .wall_ms = NOW_MS, .id = ident_make(NOW_MS, ++number << 16)};
    assert_true(batch_add(batch, &header, STR_EMPTY, STR_EMPTY, STR_EMPTY, str_of(text), NULL));
    batch_write(batch, &io_system, fd);
    assert_int_equal(batch->result, BATCH_STORED);
    int result = ask_change((struct mailbox_change){.grant = grant_of(account),
                                                    .kind = CHANGE_KIND_APPEND,
                                                    .flags = flags,
                                                    .segment = (uint64_t)segment,
                                                    .offset = (uint64_t)offset,
                                                    .name = str_of(name)});
    offset += (int64_t)batch->octets;
    batch_free(batch);
    return result;
}

/* The victim's "Above" and "Above/Box", with two messages, and the attacker's "Own", with one; all new. */
static void prepare(uint32_t rights)
{
    static const char *const names[] = {"Above", "Above/Box", "Above/Box/Sub", "Above/Other"};
    struct mailbox mailbox;
    assert_true(store_begin(store));
    for (size_t i = 0; i < 4; i++) {
        enum folder_result gone = folder_delete(store->index, VICTIM, str_of(names[i]));
        assert_true(gone == FOLDER_DONE || gone == FOLDER_MISSING);
    }
    enum folder_result gone = folder_delete(store->index, ATTACKER, STR("Own"));
    assert_true(gone == FOLDER_DONE || gone == FOLDER_MISSING);
    assert_int_equal(folder_create(store->index, VICTIM, STR("Above/Box"), 0, NOW_MS, &mailbox), FOLDER_DONE);
    assert_int_equal(folder_create(store->index, ATTACKER, STR("Own"), 0, NOW_MS, &mailbox), FOLDER_DONE);
    assert_true(store_commit(store));
    assert_int_equal(append(VICTIM, "Above/Box", 0), CHANGE_RESULT_DONE);
    assert_int_equal(append(VICTIM, "Above/Box", FLAG_DELETED), CHANGE_RESULT_DONE);
    assert_int_equal(append(ATTACKER, "Own", 0), CHANGE_RESULT_DONE);
    give("Above", rights);
    give("Above/Box", rights);
}

static void put_rows(const char *sql, struct buf *out)
{
    sqlite3_stmt *q;
    assert_int_equal(sqlite3_prepare_v2(store->index->db, sql, -1, &q, NULL), SQLITE_OK);
    while (sqlite3_step(q) == SQLITE_ROW) {
        for (int i = 0; i < sqlite3_column_count(q); i++) {
            buf_append_str(out, sql_get_text(q, i));
            buf_append_char(out, ' ');
        }
        buf_append_char(out, '\n');
    }
    sqlite3_finalize(q);
}

/* All that the victim has. */
static void picture(struct buf *out)
{
    buf_clear(out);
    put_rows(
        "SELECT mailbox, name, uid_next, modseq, messages, unseen, deleted, recent_uid, keywords FROM mailbox"
        " WHERE account = 2 ORDER BY mailbox",
        out);
    put_rows("SELECT mailbox, uid, flags FROM message WHERE account = 2 ORDER BY mailbox, uid", out);
    put_rows("SELECT mailbox, first_uid, hex(entries) FROM page WHERE account = 2 ORDER BY mailbox", out);
    put_rows("SELECT * FROM acl WHERE account = 2 ORDER BY mailbox, grantee, negative", out);
    put_rows("SELECT * FROM annotation WHERE account = 2 ORDER BY mailbox, entry", out);
    put_rows("SELECT used_octets, used_messages, modseq FROM account WHERE account = 2", out);
    assert_true(buf_ok(out));
}

/* Changes. */

#define BOX "Other Users/ann@example.org/Above/Box"

static const char one_uid[] = "\1\0\0\0\1\0\0\0";
static const char both_uids[] = "\1\0\0\0\2\0\0\0";
static const char note[] = "\x0f\0\1\0\0\0/shared/commentx";

static struct mailbox_change change_of(enum change_kind kind)
{
    return (struct mailbox_change){.grant = grant_of(ATTACKER),
                                   .kind = (uint8_t)kind,
                                   .owner = VICTIM,
                                   .mailbox = (uint64_t)find(VICTIM, "Above/Box").id,
                                   .operation = FLAGS_ADD,
                                   .modseq = INT64_MAX,
                                   .ranges = str_make(one_uid, 8)};
}

static int set_flag(uint64_t flag)
{
    struct mailbox_change ask = change_of(CHANGE_KIND_STORE);
    ask.flags = flag;
    return ask_change(ask);
}

static int do_seen(void)
{
    return set_flag(FLAG_SEEN);
}
static int do_flagged(void)
{
    return set_flag(FLAG_FLAGGED);
}
static int do_deleted(void)
{
    return set_flag(FLAG_DELETED);
}

static int do_keyword(void)
{
    struct mailbox_change ask = change_of(CHANGE_KIND_STORE);
    ask.keywords = STR("word ");
    return ask_change(ask);
}

static int do_expunge(void)
{
    struct mailbox_change ask = change_of(CHANGE_KIND_EXPUNGE);
    ask.ranges = str_make(both_uids, 8);
    return ask_change(ask);
}

static int to_own(enum change_kind kind)
{
    struct mailbox_change ask = change_of(kind);
    ask.name = STR("Own");
    return ask_change(ask);
}

static int do_copy_from(void)
{
    return to_own(CHANGE_KIND_COPY);
}
static int do_move_from(void)
{
    return to_own(CHANGE_KIND_MOVE);
}

static int do_copy_to(void)
{
    struct mailbox_change ask = change_of(CHANGE_KIND_MOVE);
    ask.owner = 0;
    ask.mailbox = (uint64_t)find(ATTACKER, "Own").id;
    ask.name = STR(BOX);
    return ask_change(ask);
}

static int do_append(void)
{
    return append(ATTACKER, BOX, 0);
}

static int by_name(enum change_kind kind, const char *name, const char *other)
{
    struct mailbox_change ask = {.grant = grant_of(ATTACKER),
                                 .kind = (uint8_t)kind,
                                 .name = str_of(name),
                                 .other_name = str_of(other)};
    ask.operation = FLAGS_ADD;
    ask.flags = RIGHTS_ALL;
    ask.ranges = kind == CHANGE_KIND_METADATA ? str_make(note, sizeof(note) - 1) : STR_EMPTY;
    return ask_change(ask);
}

static int do_create(void)
{
    return by_name(CHANGE_KIND_CREATE, BOX "/Sub", "");
}
static int do_delete(void)
{
    return by_name(CHANGE_KIND_DELETE, BOX, "");
}
static int do_rename(void)
{
    return by_name(CHANGE_KIND_RENAME, BOX, "Other Users/ann@example.org/Above/Other");
}
static int do_metadata(void)
{
    return by_name(CHANGE_KIND_METADATA, BOX, "");
}
static int do_give(void)
{
    return by_name(CHANGE_KIND_ACL, BOX, "anyone");
}

static const struct {
    const char *name;
    int (*run)(void);
    uint32_t needed;
    bool changes; /* the victim's mailboxes */
} acts[] = {{"seen", do_seen, RIGHT_READ | RIGHT_SEEN, true},
            {"flagged", do_flagged, RIGHT_READ | RIGHT_WRITE, true},
            {"keyword", do_keyword, RIGHT_READ | RIGHT_WRITE, true},
            {"deleted", do_deleted, RIGHT_READ | RIGHT_DELETED, true},
            {"expunge", do_expunge, RIGHT_READ | RIGHT_EXPUNGE, true},
            {"copy from", do_copy_from, RIGHT_READ, false},
            {"move from", do_move_from, RIGHT_READ | RIGHT_DELETED | RIGHT_EXPUNGE, true},
            {"move to", do_copy_to, RIGHT_INSERT, true},
            {"append", do_append, RIGHT_INSERT, true},
            {"create", do_create, RIGHT_CREATE, true},
            {"delete", do_delete, RIGHT_REMOVE, true},
            {"rename", do_rename, RIGHT_REMOVE | RIGHT_CREATE, true},
            {"metadata", do_metadata, RIGHT_LOOKUP | RIGHT_WRITE, true},
            {"give", do_give, RIGHT_ADMINISTER, true}};
enum { ACTS = sizeof(acts) / sizeof(acts[0]) };

static void try_act(size_t i, uint32_t rights, struct buf *before, struct buf *after)
{
    prepare(rights);
    picture(before);
    int result = acts[i].run();
    picture(after);
    bool may = (rights & acts[i].needed) == acts[i].needed;
    bool same = str_equal(buf_str(before), buf_str(after));
    bool refused = result == CHANGE_RESULT_REFUSED || result == CHANGE_RESULT_MISSING;
    /* Of a mailbox that may be neither seen nor read nothing is said but what one that is not there would get. */
    bool hidden = (rights & (RIGHT_LOOKUP | RIGHT_READ)) != 0 || acts[i].run == do_create ||
                  (acts[i].run == do_rename && (rights & RIGHT_REMOVE) != 0) ||
                  result != CHANGE_RESULT_REFUSED;
    if (may ? result != CHANGE_RESULT_DONE || same == acts[i].changes : !refused || !same || !hidden) {
        fail_msg("%s with rights %x: result %d, %s", acts[i].name, rights, result,
                 same ? "nothing changed" : "something changed");
    }
}

static void test_changes(void **state)
{
    (void)state;
    struct buf before = buf_make(1 << 20);
    struct buf after = buf_make(1 << 20);
    for (size_t i = 0; i < ACTS; i++) {
        for (uint32_t one = 0; one <= RIGHT_ADMINISTER; one = one == 0 ? 1 : one << 1) {
            try_act(i, one, &before, &after);
            try_act(i, RIGHTS_ALL & ~one, &before, &after);
            try_act(i, RIGHT_LOOKUP | RIGHT_READ | one, &before, &after);
        }
        try_act(i, acts[i].needed, &before, &after);
    }
    buf_free(&before);
    buf_free(&after);
}

/* A grant that is none, of another process, or of another account than a part that came before. */
static void test_grants(void **state)
{
    (void)state;
    char other[GRANT_SIZE];
    struct grant grant = {
        .account = VICTIM, .issued_ms = NOW_MS, .instance = INSTANCE + 1, .kind = ROLE_IMAPD, .boot = BOOT};
    prepare(RIGHTS_ALL);
    struct mailbox_change ask = change_of(CHANGE_KIND_EXPUNGE);
    grant_make(&grant, key, (unsigned char *)other);
    ask.grant = str_make(other, sizeof(other));
    assert_int_equal(ask_change(ask), CHANGE_RESULT_REFUSED);
    memcpy(other, grant_of(ATTACKER).data, sizeof(other));
    other[0] = VICTIM;
    assert_int_equal(ask_change(ask), CHANGE_RESULT_REFUSED);
    ask = change_of(CHANGE_KIND_STORE);
    ask.more = 1;
    ask_change(ask);
    ask.more = 0;
    ask.grant = grant_of(VICTIM);
    assert_int_equal(ask_change(ask), CHANGE_RESULT_TEMPORARY);
}

/* Questions. */

static int ask_reader(const struct ipc_type *type, const void *ask)
{
    heard.result = -1;
    heard.messages = 0;
    reader_role.module->peer_message(&reader_role, &reader_peer, type, ask, -1);
    return heard.result;
}

static int open_box(const char *name)
{
    struct mailbox_open ask = {.ticket = 1, .grant = grant_of(ATTACKER), .mailbox = str_of(name)};
    return ask_reader(&mailbox_open_type, &ask);
}

static int use_handle(uint64_t handle, int how)
{
    struct mailbox_list list = {.ticket = 1, .handle = handle, .uid = 1};
    struct mailbox_ask_flags flags = {.ticket = 1, .handle = handle};
    struct mailbox_fetch fetch = {.ticket = 1,
                                  .handle = handle,
                                  .want = MAILBOX_WANT_META | MAILBOX_WANT_BODY,
                                  .length = UINT64_MAX,
                                  .window = MAILBOX_WINDOW_MAX,
                                  .ranges = str_make(one_uid, 8)};
    return how == 0   ? ask_reader(&mailbox_list_type, &list)
           : how == 1 ? ask_reader(&mailbox_ask_flags_type, &flags)
                      : ask_reader(&mailbox_fetch_type, &fetch);
}

static void expect_question(const char *what, uint32_t rights, bool may, int result)
{
    int wanted = may ? MAILBOX_OK : (rights & RIGHT_LOOKUP) != 0 ? MAILBOX_REFUSED : MAILBOX_MISSING;
    if (result != wanted) {
        fail_msg("%s with rights %x: result %d instead of %d", what, rights, result, wanted);
    }
}

static void try_questions(uint32_t rights)
{
    const uint32_t any =
        RIGHT_LOOKUP | RIGHT_READ | RIGHT_INSERT | RIGHT_CREATE | RIGHT_REMOVE | RIGHT_ADMINISTER;
    const uint32_t noted = RIGHT_READ | RIGHT_SEEN | RIGHT_WRITE | RIGHT_INSERT | RIGHT_POST;
    struct mailbox_metadata metadata = {.ticket = 1, .grant = grant_of(ATTACKER), .name = STR(BOX)};
    struct mailbox_acl acl = {
        .ticket = 1, .grant = grant_of(ATTACKER), .name = STR(BOX), .identifier = STR("anyone")};
    struct mailbox_rows rows = {.ticket = 1, .grant = grant_of(ATTACKER), .deleted_octets = 1};
    prepare(rights);
    expect_question("open", rights, (rights & RIGHT_READ) != 0, open_box(BOX));
    uint64_t handle = heard.handle;
    for (int how = 0; how < 3 && heard.result == MAILBOX_OK; how++) {
        assert_int_equal(use_handle(handle, how), MAILBOX_OK);
        assert_true(heard.messages > 0);
    }
    expect_question("metadata", rights, (rights & RIGHT_LOOKUP) != 0 && (rights & noted) != 0,
                    ask_reader(&mailbox_metadata_type, &metadata));
    for (acl.question = 0; acl.question <= MAILBOX_ACL_OWN; acl.question++) {
        bool may = (rights & (acl.question == MAILBOX_ACL_OWN ? any : RIGHT_ADMINISTER)) != 0;
        expect_question("acl", rights, may, ask_reader(&mailbox_acl_type, &acl));
        assert_int_equal(heard.messages > 0, may);
    }
    buf_clear(&heard.names);
    heard.counted = 0;
    assert_int_equal(ask_reader(&mailbox_rows_type, &rows), MAILBOX_OK);
    assert_int_equal(str_find_str(buf_str(&heard.names), STR(BOX "\n")) != SIZE_MAX,
                     (rights & (RIGHT_LOOKUP | RIGHT_READ)) != 0);
    assert_int_equal(heard.counted > 0, (rights & RIGHT_READ) != 0);
}

static void test_questions(void **state)
{
    (void)state;
    for (uint32_t one = 0; one <= RIGHT_ADMINISTER; one = one == 0 ? 1 : one << 1) {
        try_questions(one);
        try_questions(RIGHTS_ALL & ~one);
        try_questions(RIGHT_LOOKUP | one);
    }
}

/* A handle is worth nothing any more when the right to read is gone; and again something when it is there again. */
static void test_a_right_that_is_withdrawn(void **state)
{
    (void)state;
    prepare(RIGHTS_ALL);
    assert_int_equal(open_box(BOX), MAILBOX_OK);
    uint64_t handle = heard.handle;
    give("Above/Box", RIGHTS_ALL & ~(uint32_t)RIGHT_READ);
    for (int how = 0; how < 3; how++) {
        assert_int_equal(use_handle(handle, how), MAILBOX_MISSING);
        assert_int_equal(heard.messages, 0);
    }
    give("Above/Box", RIGHT_READ);
    assert_int_equal(use_handle(handle, 2), MAILBOX_OK);
    give("Above/Box", 0);
    assert_int_equal(use_handle(handle, 2), MAILBOX_MISSING);
}

static unsigned news_of_a_change(void)
{
    heard.news = 0;
    assert_int_equal(append(VICTIM, "Above/Box", 0), CHANGE_RESULT_DONE);
    return heard.news;
}

static unsigned watch(void)
{
    struct mailbox_watch ask = {.ticket = 9,
                                .grant = grant_of(ATTACKER),
                                .owner = VICTIM,
                                .mailbox = (uint64_t)find(VICTIM, "Above/Box").id};
    heard.news = 0;
    store_role.module->peer_message(&store_role, &store_peer, &mailbox_watch_type, &ask, -1);
    return heard.news;
}

/* News of a mailbox are for those who may read there: when the right is withdrawn that is the last of them. */
static void test_watches(void **state)
{
    (void)state;
    prepare(RIGHTS_ALL & ~(uint32_t)RIGHT_READ);
    assert_int_equal(watch(), 0);
    assert_int_equal(news_of_a_change(), 0);
    give("Above/Box", RIGHT_READ);
    assert_int_equal(watch(), 1);
    assert_int_equal(news_of_a_change(), 1);
    heard.news = 0;
    give("Above/Box", RIGHT_LOOKUP);
    assert_int_equal(heard.news, 1);
    assert_int_equal(news_of_a_change(), 0);
}

static void say(void *context, struct str problem)
{
    (void)context;
    print_error("%.*s\n", STR_ARGS(problem));
}

static void test_log_and_index_agree(void **state)
{
    (void)state;
    struct verify_counts counts;
    assert_true(store_begin(store) && segment_set_applied(store->index, segment, offset) == 0 &&
                segment_seal(store->index, segment) == 0 && store_commit(store));
    assert_int_equal(verify_store(store->index, &store->segments, say, NULL, &counts), 0);
    assert_int_equal(counts.problems, 0);
    assert_true(counts.messages > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_changes),   cmocka_unit_test(test_grants),
        cmocka_unit_test(test_questions), cmocka_unit_test(test_a_right_that_is_withdrawn),
        cmocka_unit_test(test_watches),   cmocka_unit_test(test_log_and_index_agree)};
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
